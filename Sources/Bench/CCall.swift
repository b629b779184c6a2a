import Foundation

/// What calls of the plain C loops have in common.
enum CCall {
    typealias Texts = UnsafePointer<UnsafePointer<CChar>?>

    /// Lends the names and the values of `settings`, as C takes them, for the length of `body`.
    static func withPointers<Result>(_ settings: [String: String], _ body: (Texts?, Texts?) throws -> Result) rethrows -> Result {
        let names = settings.keys.sorted()
        let texts = names.map { strdup($0) } + names.map { strdup(settings[$0] ?? "") }
        defer { for text in texts { free(text) } }
        return try texts.map { UnsafePointer<CChar>($0) }.withUnsafeBufferPointer { buffer in
            try body(buffer.baseAddress, buffer.baseAddress.map { $0 + names.count })
        }
    }

    /// What a loop has written into its `error`.
    static func text(_ error: [CChar]) -> String { String(decoding: error.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self) }
}
