/// Everything that is wrong with a configuration file, found before anything was touched. The command prints
/// `description` and ends with status 2.
public struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// One thing that is wrong, at one place.
    public struct Problem: Sendable, Equatable, CustomStringConvertible {
        /// The file as it was named by the user.
        public let file: String
        /// From 1; 0 when the problem is with the file as a whole (it can't be read).
        public let line: Int
        /// From 1, in Unicode scalars; 0: the whole line.
        public let column: Int
        /// What is wrong and what would be right; one line.
        public let message: String

        public init(file: String, line: Int, column: Int, message: String) {
            self.file = file
            self.line = line
            self.column = column
            self.message = Self.onOneLine(message)
        }

        /// Values of the file stand in messages: a line break or a terminal's escape in them is written as `\u{a}`.
        private static func onOneLine(_ text: String) -> String {
            guard text.unicodeScalars.contains(where: { $0.properties.generalCategory == .control }) else { return text }
            return text.unicodeScalars.reduce(into: "") { line, scalar in
                line += scalar.properties.generalCategory == .control ? "\\u{\(String(scalar.value, radix: 16))}" : String(scalar)
            }
        }

        /// `worker.yaml:12:5: message`, as compilers write it.
        public var description: String {
            "\(file)\(line > 0 ? ":\(line)" : "")\(line > 0 && column > 0 ? ":\(column)" : ""): \(message)"
        }
    }

    /// Never empty; in the order of their places.
    public let problems: [Problem]

    public init(problems: [Problem]) {
        self.problems = problems.enumerated()
            .sorted { ($0.element.line, $0.element.column, $0.offset) < ($1.element.line, $1.element.column, $1.offset) }
            .map(\.element)
    }

    public var isRetriable: Bool { false }
    public var label: String { "configuration" }

    /// One line per problem.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}

/// `; did you mean "topic"?` when one of `candidates` is close to `word`, else an empty text.
func didYouMean(_ word: String, among candidates: some Sequence<String>) -> String {
    nearest(to: word, among: candidates).map { "; did you mean \"\($0)\"?" } ?? ""
}

/// The candidate with the fewest edits from `word`: at most one in three letters, and at least one is allowed.
func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    let limit = max(1, word.count / 3)
    var best: (candidate: String, distance: Int)?
    for candidate in candidates {
        let distance = editDistance(word, candidate)
        if distance <= limit, distance < best?.distance ?? .max { best = (candidate, distance) }
    }
    return best?.candidate
}

/// Insertions, deletions, replacements and swaps of neighbours that turn `a` into `b` (optimal string alignment).
func editDistance(_ a: String, _ b: String) -> Int {
    // A key is a short word; anything longer is not a slip of the keyboard, and the table would grow with its square.
    let longest = 64
    let a = Array(a.lowercased()), b = Array(b.lowercased())
    guard a.count <= longest, b.count <= longest else { return .max }
    var table = [[Int]](repeating: [Int](repeating: 0, count: b.count + 1), count: a.count + 1)
    for i in 0...a.count { table[i][0] = i }
    for j in 0...b.count { table[0][j] = j }
    for i in a.indices {
        for j in b.indices {
            var edits = min(table[i][j + 1] + 1, table[i + 1][j] + 1, table[i][j] + (a[i] == b[j] ? 0 : 1))
            if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] { edits = min(edits, table[i - 1][j - 1] + 1) }
            table[i + 1][j + 1] = edits
        }
    }
    return table[a.count][b.count]
}
