/// Which HTTP statuses are worth another try, and which are no failure: `retry_on` and `ignore`.
public struct StatusRules: Sendable, Equatable {
    public let retryOn: [StatusPattern]
    public let ignore: [StatusPattern]

    public static let defaultRetryOn = [StatusPattern("5xx"), StatusPattern("429")].compactMap(\.self)
    public static let defaultIgnore = [StatusPattern("412")].compactMap(\.self)

    public init(retryOn: [StatusPattern] = defaultRetryOn, ignore: [StatusPattern] = defaultIgnore) {
        self.retryOn = retryOn
        self.ignore = ignore
    }

    public func ignores(_ status: Int) -> Bool { ignore.contains { $0.matches(status) } }

    public func retries(_ status: Int) -> Bool { retryOn.contains { $0.matches(status) } }

    /// What a whole answer with this status means. A status that both lists name is tried again first and ignored when the
    /// tries are used up, as in change-propagation.
    ///
    /// - Parameter isReadOnly: whether the answer carries `x-readonly: true`; it counts for failures only.
    public func result(of status: Int, isReadOnly: Bool = false) -> RequestResult {
        if isReadOnly, !ignores(status), status >= 400 || retries(status) { return .retriable(.readOnly(status)) }
        if retries(status) { return .retriable(.status(status)) }
        if ignores(status) { return .ignored(status: status) }
        return status < 400 ? .done(status: status) : .failed(.status(status))
    }
}

/// A status such as 503, or a pattern such as `50x` or `5xx`, where x is any digit.
public struct StatusPattern: Sendable, Equatable, CustomStringConvertible {
    /// Three of them; nil is any digit.
    private let digits: [Int?]
    public let description: String

    /// nil when `text` is not three characters, 1 to 9 or x first, then 0 to 9 or x.
    public init?(_ text: String) {
        guard text.utf8.count == 3 else { return nil }
        var digits: [Int?] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "x"): digits.append(nil)
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digits.append(Int(byte - UInt8(ascii: "0")))
            default: return nil
            }
        }
        guard digits[0] != .some(0) else { return nil }
        self.digits = digits
        description = text
    }

    public func matches(_ status: Int) -> Bool {
        guard (100...999).contains(status) else { return false }
        return zip(digits, [status / 100, status / 10 % 10, status % 10]).allSatisfy { $0 == nil || $0 == $1 }
    }
}
