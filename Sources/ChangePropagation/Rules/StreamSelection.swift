import KafkaLog
import Synchronization

/// Which streams a rule reads: those that it names, and those whose name one of its expressions matches, without the excluded ones.
public struct StreamSelection: Sendable {
    /// Streams that are named, without the excluded ones; no repeats.
    public let names: [String]
    /// The expressions as they were written, such as `/^mediawiki\.job\./`.
    public var patterns: [String] { expressions.map(\.text) }
    /// What is left out, as it was written: names and expressions.
    public var excluded: [String] { excludedNames + excludedExpressions.map(\.text) }
    /// Whether more streams may come to match while the worker runs.
    public var isOpen: Bool { !expressions.isEmpty }

    private let expressions: [RegularExpression]
    private let excludedNames: [String]
    private let excludedExpressions: [RegularExpression]
    /// The service whose own retry and error streams no expression matches.
    private let service: String
    /// A rule is asked for each record, so what its expressions say of a name is remembered.
    private let answers = Answers()

    init(
        names: [String], expressions: [RegularExpression] = [], excludedNames: [String] = [], excludedExpressions: [RegularExpression] = [],
        service: String = ""
    ) {
        self.names = names.filter { name in
            !excludedNames.contains(name) && !excludedExpressions.contains { (try? $0.matches(name)) ?? false }
        }
        self.expressions = expressions
        self.excludedNames = excludedNames
        self.excludedExpressions = excludedExpressions
        self.service = service
    }

    /// Whether `stream` (without a datacenter's prefix) is read.
    public func contains(_ stream: String) -> Bool {
        if names.contains(stream) { return true }
        guard isOpen else { return false }
        return answers.of(stream) { matches(stream) }
    }

    /// An expression that needs too many steps on a name does not match it.
    private func matches(_ stream: String) -> Bool {
        if isOwn(stream) || excludedNames.contains(stream) { return false }
        func isMatched(by expressions: [RegularExpression]) -> Bool { expressions.contains { (try? $0.matches(stream)) ?? false } }
        return isMatched(by: expressions) && !isMatched(by: excludedExpressions)
    }

    /// Streams that switchback writes itself: a rule that read its own retries would never end.
    private func isOwn(_ stream: String) -> Bool {
        stream.hasPrefix("switchback.") || stream.hasPrefix("\(service).retry.") || stream == "\(service).error" || stream.hasPrefix("\(service).error.")
    }

    private final class Answers: Sendable {
        private let known = Mutex<[String: Bool]>([:])

        func of(_ stream: String, _ ask: () -> Bool) -> Bool {
            if let answer = known.withLock({ $0[stream] }) { return answer }
            let answer = ask()
            known.withLock { $0[stream] = answer }
            return answer
        }
    }
}
