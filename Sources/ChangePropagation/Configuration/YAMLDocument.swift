import Foundation
import Yams

/// A YAML file as a tree in which every node knows its line and column, and the list of everything that is found wrong
/// with it. Used by one thread while a file is loaded, then thrown away.
///
/// Plain scalars are read by YAML 1.2's core schema: only `true` and `false` are booleans (a wiki called `no` stays a
/// text), and dates stay texts.
package final class YAMLDocument {
    /// A file larger than this is refused.
    static let maximumFileSize = 4 << 20
    /// Nodes with every alias written out, at most: aliases of aliases must not be able to fill the memory.
    static let maximumNodes = 200_000
    /// Maps and lists inside each other, at most.
    static let maximumDepth = 64

    /// The name that messages use.
    let file: String
    private(set) var problems: [ConfigurationError.Problem] = []
    /// What is allowed, and likely not what is meant.
    private(set) var warnings: [ConfigurationError.Problem] = []
    /// Whether this is another service's file: then what is not known is a warning instead of a mistake.
    var isForeign = false
    private var reported: Set<String> = []
    /// Values that could not be filled in from the environment: what is wrong with them otherwise can't be known.
    private var unfilled: Set<[Int]> = []

    /// What `{env(NAME)}` is replaced by.
    private let environment: [String: String]

    private init(file: String, environment: [String: String]) {
        self.file = file
        self.environment = environment
    }

    /// Parses `text`. A file that is not YAML throws at once; repeated keys are reported with everything else.
    package static func parse(_ text: String, file: String, environment: [String: String] = [:]) throws(ConfigurationError) -> ConfigurationNode {
        let document = YAMLDocument(file: file, environment: environment)
        guard text.utf8.count <= maximumFileSize else {
            throw document.failure(line: 0, column: 0, "the file is larger than \(maximumFileSize >> 20) MiB")
        }
        let node = try document.compose(text)
        guard let node else { throw document.failure(line: 1, column: 1, "the file is empty") }
        var nodes = 0
        guard document.measure(node, depth: 0, nodes: &nodes) else {
            throw document.failure(
                line: 1, column: 1,
                "the file holds more than \(maximumNodes) values once its aliases are written out, or nests deeper than \(maximumDepth)")
        }
        return ConfigurationNode(node: node, document: document)
    }

    func report(_ message: String, line: Int, column: Int) {
        if unfilled.contains([line, column]) { return }
        let problem = ConfigurationError.Problem(file: file, line: line, column: column, message: message)
        // A map that is used through several aliases has its mistakes once.
        if reported.insert(problem.description).inserted { problems.append(problem) }
    }

    func report(_ message: String, at node: Node) {
        report(message, line: node.mark?.line ?? 1, column: node.mark?.column ?? 1)
    }

    func warn(_ message: String, at node: Node) {
        let warning = ConfigurationError.Problem(
            file: file, line: node.mark?.line ?? 1, column: node.mark?.column ?? 1, message: "warning: \(message)")
        if reported.insert(warning.description).inserted { warnings.append(warning) }
    }

    /// Throws everything that was reported, if anything was.
    package func finish() throws(ConfigurationError) {
        if !problems.isEmpty { throw ConfigurationError(problems: problems) }
    }

    private func failure(line: Int, column: Int, _ message: String) -> ConfigurationError {
        ConfigurationError(problems: [ConfigurationError.Problem(file: file, line: line, column: column, message: message)])
    }

    // MARK: Environment

    /// `text` with each `{env(NAME)}` replaced. What is wrong with one is reported, and it stands for nothing.
    func replacingEnvironment(in text: String, at node: Node) -> String {
        func wrong(_ message: String) {
            report(message, at: node)
            unfilled.insert([node.mark?.line ?? 1, node.mark?.column ?? 1])
        }
        var result = ""
        var rest = text[...]
        while let start = rest.range(of: "{env(") {
            result += rest[..<start.lowerBound]
            let isDoubled = rest[..<start.lowerBound].last == "{"
            guard let end = rest[start.upperBound...].range(of: ")}") else {
                wrong("\"{env(\" is not closed; {env(NAME)} is replaced by the environment variable NAME")
                return result
            }
            let name = rest[start.upperBound..<end.lowerBound].trimmingCharacters(in: .whitespaces)
            if isDoubled {
                wrong("{{env(\(name))}} is not a template: it is replaced when the file is read, and written {env(\(name))}")
            } else if let value = environment[name] {
                result += value
            } else {
                wrong("{env(\(name))}: the environment variable \(name) is not set")
            }
            rest = rest[end.upperBound...]
        }
        return result + rest
    }

    // MARK: Composing

    /// Put before the first of two equal keys, which Yams would refuse at once, so that the rest of the file can be looked
    /// at too. A private-use character that no key has.
    static let repeatedKeyMark: Unicode.Scalar = "\u{E0D7}"

    private func compose(_ text: String) throws(ConfigurationError) -> Node? {
        let mostRepeatedKeys = 100
        var text = text
        if text.unicodeScalars.first == "\u{FEFF}" { text.unicodeScalars.removeFirst() }
        for _ in 0..<mostRepeatedKeys {
            do {
                return try Yams.compose(yaml: text, .basic, .default, .utf8)
            } catch YamlError.duplicatedKeysInMapping(let keys, let context) {
                guard let marked = Self.mark(key: keys.first ?? "", at: context.mark, in: text) else {
                    throw failure(line: context.mark.line, column: context.mark.column, "the key \"\(keys.first ?? "")\" is given twice")
                }
                text = marked
            } catch {
                throw syntaxFailure(error, in: text)
            }
        }
        throw failure(line: 1, column: 1, "more than \(mostRepeatedKeys) keys are given twice")
    }

    /// nil where the key is not written there as it reads (an alias, an escape, another kind of line break).
    private static func mark(key: String, at mark: Mark, in text: String) -> String? {
        var lines = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false).map(Array.init)
        guard lines.indices.contains(mark.line - 1) else { return nil }
        var column = mark.column - 1
        guard lines[mark.line - 1].indices.contains(column) else { return nil }
        let first = lines[mark.line - 1][column]
        if first == "\"" || first == "'" { column += 1 }
        guard !key.isEmpty, lines[mark.line - 1][column...].starts(with: key.unicodeScalars) else { return nil }
        lines[mark.line - 1].insert(repeatedKeyMark, at: column)
        var scalars = String.UnicodeScalarView()
        scalars.append(contentsOf: lines.joined(separator: ["\n"]))
        return String(scalars)
    }

    private func syntaxFailure(_ error: any Error, in text: String) -> ConfigurationError {
        switch error {
        case YamlError.scanner(let context, let problem, let mark, _),
            YamlError.parser(let context, let problem, let mark, _),
            YamlError.composer(let context, let problem, let mark, _):
            let around = context.map { " (\($0.text), from line \($0.mark.line))" } ?? ""
            return failure(line: mark.line, column: mark.column, "not valid YAML: \(problem)\(around)")
        case YamlError.reader(let problem, let offset, _, _):
            let before = text.prefix(offset ?? 0)
            let line = before.count { $0.isNewline } + 1
            let column = before.count - (before.lastIndex(where: \.isNewline).map { before.distance(from: before.startIndex, to: $0) + 1 } ?? 0)
            return failure(line: line, column: column + 1, "not valid YAML: \(problem)")
        default:
            return failure(line: 1, column: 1, "not valid YAML: \(error)")
        }
    }

    /// False when the tree is too large or too deep. Shared subtrees count once per use.
    private func measure(_ node: Node, depth: Int, nodes: inout Int) -> Bool {
        nodes += 1
        guard nodes <= Self.maximumNodes, depth <= Self.maximumDepth else { return false }
        switch node {
        case .scalar(let scalar):
            let tag = scalar.tag.rawValue
            if tag.hasPrefix("!"), tag != "!" { report("YAML tags such as \(tag) are not supported; remove it", at: node) }
            return true
        case .alias: return true
        case .sequence(let sequence): return sequence.allSatisfy { measure($0, depth: depth + 1, nodes: &nodes) }
        case .mapping(let mapping):
            return mapping.allSatisfy {
                measure($0.key, depth: depth + 1, nodes: &nodes) && measure($0.value, depth: depth + 1, nodes: &nodes)
            }
        }
    }
}

extension ConfigurationError {
    /// For a file that can't be read at all.
    init(file: String, message: String) {
        self.init(problems: [Problem(file: file, line: 0, column: 0, message: message)])
    }
}
