import Foundation
import KafkaLog

/// `delay_until`: the time before which an event is not acted on.
struct DueTime: Sendable {
    let template: ValueTemplate

    /// Numbers up to this one are seconds since 1970 (until the year 5138); larger ones are milliseconds (since 1973).
    private static let mostSeconds = 1e11
    /// A number beyond is no time (2286 in milliseconds), but perhaps a date without its separators.
    private static let mostMilliseconds = 1e13

    /// nil: the event has no such field, or null there: it is due at once.
    ///
    /// - Throws: `notATime`, or what a template throws but `missingField`.
    func time(of event: JSONValue) throws(EventError) -> MillisecondTimestamp? {
        let value: JSONValue
        do throws(EventError) { value = try template.fill(from: EventContext(event, match: nil)) } catch {
            if case .missingField = error.kind { return nil }
            throw error
        }
        switch value {
        case .null: return nil
        case .integer(let number): return try Self.time(Double(number))
        case .double(let number): return try Self.time(number)
        case .string(let text):
            if let number = Double(text) { return try Self.time(number) }
            guard let date = Date(eventTime: text) else { throw EventError(.notATime(text)) }
            return try Self.time(date.timeIntervalSince1970)
        default: throw EventError(.notATime(value.jsonText))
        }
    }

    private static func time(_ number: Double) throws(EventError) -> MillisecondTimestamp {
        guard number >= 0, number <= mostMilliseconds else { throw EventError(.notATime("\(number)")) }
        return MillisecondTimestamp(clamped: Int64(number <= mostSeconds ? number * 1000 : number))
    }
}
