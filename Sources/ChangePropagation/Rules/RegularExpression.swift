import CPCRE2

/// A regular expression as rule files have them, `/…/flags` in JavaScript's manner, compiled once by PCRE2. What it may cost is
/// bounded: an expression that backtracks without end is an error of that event, not of the worker.
final class RegularExpression: @unchecked Sendable {
    // @unchecked: PCRE2's compiled code and match context are only read after `init`, from any thread (pcre2api, "MULTITHREADING").
    private let code: OpaquePointer
    private let context: OpaquePointer
    /// As it was written, for messages and comparisons.
    let text: String
    /// Names of named groups by their number. Empty: the groups are numbered.
    let names: [Int: String]
    /// How many groups there are.
    let groups: Int

    /// Most steps of backtracking in one match, and most memory for it in KiB.
    static let matchLimit: UInt32 = 100_000
    static let heapLimit: UInt32 = 1_024

    struct CompileError: Error { let message: String }
    /// The expression needed more than the limits allow.
    struct TooCostly: Error {}

    /// - Parameter text: `/…/` with JavaScript's flags behind it. `d`, `g`, `v` and `y` change nothing in a test for a match.
    init(_ text: String) throws(CompileError) {
        guard text.hasPrefix("/"), let end = text.lastIndex(of: "/"), end > text.startIndex else {
            throw CompileError(message: "a regular expression is written /…/")
        }
        let pattern = Array(text[text.index(after: text.startIndex)..<end].utf8)
        // JavaScript's: \u and \x escapes, [] matches nothing, $ only at the very end, a back reference to an unset group matches nothing.
        var options = PCRE2_UTF | PCRE2_ALT_BSUX | PCRE2_ALLOW_EMPTY_CLASS | PCRE2_DOLLAR_ENDONLY | PCRE2_MATCH_UNSET_BACKREF
        for flag in text[text.index(after: end)...] {
            switch flag {
            case "i": options |= PCRE2_CASELESS
            case "m": options |= PCRE2_MULTILINE
            case "s": options |= PCRE2_DOTALL
            default: break
            }
        }
        var failure: Int32 = 0
        var at = 0
        guard let code = pcre2_compile_8(pattern, pattern.count, options, &failure, &at, nil) else {
            throw CompileError(message: "\(Self.message(failure)) (at character \(at) of \(text))")
        }
        // Without the compiler for machine code (SELinux may forbid it) the interpreter does the same.
        pcre2_jit_compile_8(code, PCRE2_JIT_COMPLETE)
        guard let context = pcre2_match_context_create_8(nil) else {
            pcre2_code_free_8(code)
            throw CompileError(message: "no memory")
        }
        pcre2_set_match_limit_8(context, Self.matchLimit)
        pcre2_set_heap_limit_8(context, Self.heapLimit)
        self.code = code
        self.context = context
        self.text = text
        groups = Self.groupCount(code)
        names = Self.groupNames(code)
        guard names.isEmpty || names.count == groups else {
            throw CompileError(message: "\(text) mixes named and numbered groups; name all of them, or write (?:…) for those without a name")
        }
    }

    deinit {
        pcre2_match_context_free_8(context)
        pcre2_code_free_8(code)
    }

    private static func message(_ code: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 256)
        let length = pcre2_get_error_message_8(code, &buffer, buffer.count)
        return length > 0 ? String(decoding: buffer.prefix(Int(length)), as: UTF8.self) : "error \(code)"
    }

    private static func groupCount(_ code: OpaquePointer) -> Int {
        var count: UInt32 = 0
        pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_CAPTURECOUNT), &count)
        return Int(count)
    }

    private static func groupNames(_ code: OpaquePointer) -> [Int: String] {
        var count: UInt32 = 0, size: UInt32 = 0
        var table: UnsafePointer<UInt8>?
        pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_NAMECOUNT), &count)
        pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_NAMEENTRYSIZE), &size)
        pcre2_pattern_info_8(code, UInt32(PCRE2_INFO_NAMETABLE), &table)
        guard let table else { return [:] }
        var names: [Int: String] = [:]
        for index in 0..<Int(count) {
            // Two bytes of the group's number, then its name with a zero behind it.
            let entry = table + index * Int(size)
            let bytes = UnsafeBufferPointer(start: entry + 2, count: Int(size) - 2).prefix { $0 != 0 }
            names[Int(entry[0]) << 8 | Int(entry[1])] = String(decoding: bytes, as: UTF8.self)
        }
        return names
    }

    /// Whether the expression matches anywhere in `subject`.
    func matches(_ subject: String) throws(TooCostly) -> Bool { try run(subject) { _, _ in true } ?? false }

    /// The groups of the first match, by number (0 is the whole match); nil where one did not take part. nil: no match.
    func captures(_ subject: String) throws(TooCostly) -> [String?]? {
        try run(subject) { bytes, offsets in
            (0...groups).map { group in
                // PCRE2_UNSET is the largest size_t.
                guard offsets[2 * group] != Int(bitPattern: UInt.max), offsets[2 * group] <= offsets[2 * group + 1] else { return nil }
                return String(decoding: bytes[offsets[2 * group]..<offsets[2 * group + 1]], as: UTF8.self)
            }
        }
    }

    private func run<Result>(
        _ subject: String, _ found: (UnsafeBufferPointer<UInt8>, UnsafePointer<Int>) -> Result
    ) throws(TooCostly) -> Result? {
        guard let data = pcre2_match_data_create_from_pattern_8(code, nil) else { throw TooCostly() }
        defer { pcre2_match_data_free_8(data) }
        var subject = subject
        let outcome: Swift.Result<Result?, TooCostly> = subject.withUTF8 { bytes in
            // Swift's strings are valid UTF-8.
            let code = pcre2_match_8(self.code, bytes.baseAddress, bytes.count, 0, PCRE2_NO_UTF_CHECK, data, context)
            if code == PCRE2_ERROR_NOMATCH { return .success(nil) }
            guard code > 0, let offsets = pcre2_get_ovector_pointer_8(data) else { return .failure(TooCostly()) }
            return .success(found(bytes, UnsafeRawPointer(offsets).assumingMemoryBound(to: Int.self)))
        }
        return try outcome.get()
    }
}
