import Foundation

/// A time out of an event, for `date()`.
struct TemplateDate {
    private let date: Date

    /// A text in ISO 8601 with a zone, or milliseconds since 1970 as a number or in digits. nil: neither, or a year that has not four digits.
    init?(_ value: JSONValue) {
        let date: Date?
        switch value {
        case .integer(let milliseconds): date = Date(timeIntervalSince1970: Double(milliseconds) / 1000)
        case .double(let milliseconds): date = Date(timeIntervalSince1970: milliseconds / 1000)
        case .string(let text):
            if !text.isEmpty, text.utf8.allSatisfy({ (48...57).contains($0) }) {
                date = Double(text).map { Date(timeIntervalSince1970: $0 / 1000) }
            } else {
                date = Date(eventTime: text)
            }
        default: date = nil
        }
        // From the year 0 to the end of 9999.
        guard let date, (-62_167_219_200..<253_402_300_800).contains(date.timeIntervalSince1970) else { return nil }
        self.date = date
    }

    private static let precise = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    /// `2026-11-21T08:49:37.000Z`
    var iso: String { date.formatted(Self.precise) }

    /// `Sun, 06 Nov 1994 08:49:37 GMT`
    var http: String {
        let style = Date.VerbatimFormatStyle(
            format:
                "\(weekday: .abbreviated), \(day: .twoDigits) \(month: .abbreviated) \(year: .padded(4)) \(hour: .twoDigits(clock: .twentyFourHour, hourCycle: .zeroBased)):\(minute: .twoDigits):\(second: .twoDigits) GMT",
            locale: Locale(identifier: "en_US_POSIX"), timeZone: .gmt, calendar: Calendar(identifier: .gregorian))
        return date.formatted(style)
    }
}
