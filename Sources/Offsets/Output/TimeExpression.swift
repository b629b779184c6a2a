import KafkaLog

/// A point in time as operators write it: RFC 3339 with a zone (`2026-03-01T02:03:04Z`, `2026-03-01 02:03:04.5+01:00`), milliseconds since 1970
/// (`1772330584000`), or so long ago (`-15m`, `-1h30m`). A time without a zone is an error: at three in the morning nobody should have to
/// guess whose clock was meant.
public enum TimeExpression: Sendable, Hashable {
    case at(MillisecondTimestamp)
    /// Milliseconds before now; 0 or more.
    case ago(Int64)

    /// Why a text is no time, and what would be right.
    public struct Wrong: Error, Hashable, Sendable, CustomStringConvertible {
        public let description: String
    }

    /// Numbers below this (1973) are taken for seconds by mistake.
    private static let leastMilliseconds: Int64 = 100_000_000_000
    private static let longestAgo: Int64 = 100 * 365 * 86_400_000

    public init(_ text: String) throws(Wrong) {
        if text.hasPrefix("-") {
            self = .ago(try Self.duration(text.dropFirst(), of: text))
        } else if !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) {
            guard let number = Int64(text), number <= Int64(253_402_300_799_999) else { throw Wrong(description: "'\(text)' is after the year 9999") }
            guard number >= Self.leastMilliseconds else {
                throw Wrong(description: "'\(text)' as milliseconds since 1970 is before 1973: if seconds were meant, '\(text)000' would be right")
            }
            self = .at(MillisecondTimestamp(clamped: number))
        } else {
            self = .at(try Self.calendarTime(text))
        }
    }

    public func resolved(now: MillisecondTimestamp) -> MillisecondTimestamp {
        switch self {
        case .at(let time): time
        case .ago(let milliseconds): now.moved(by: -milliseconds)
        }
    }

    private static let units: [String: Int64] = ["ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]

    /// Reads `1h30m` as milliseconds.
    private static func duration(_ text: Substring, of whole: String) throws(Wrong) -> Int64 {
        var total: Int64 = 0
        var rest = text
        var isEmpty = true
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { $0.isASCII && $0.isLetter }
            rest = rest.dropFirst(unit.count)
            guard digits.count <= 9, let count = Int64(digits), let scale = units[String(unit)] else {
                throw Wrong(description: "'\(whole)' is no time ago: a number and ms, s, m, h or d would be right, such as -15m or -1h30m")
            }
            total += count * scale
            isEmpty = false
        }
        guard !isEmpty, total <= longestAgo else { throw Wrong(description: "'\(whole)' is no time ago: -15m or -1h30m would be right") }
        return total
    }

    private static func calendarTime(_ text: String) throws(Wrong) -> MillisecondTimestamp {
        let wrong = Wrong(description: "'\(text)' is no time: 2026-03-01T02:03:04Z, 1772330584000 (ms since 1970) or -15m would be right")
        guard let match = text.wholeMatch(of: /(\d{4})-(\d\d)-(\d\d)(?:[T t](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?)?(Z|z|[+-]\d\d:\d\d)?/) else { throw wrong }
        guard let zone = match.8 else {
            throw Wrong(description: "'\(text)' has no zone: append Z for UTC, or an offset such as +01:00 (2026-03-01T02:03:04Z would be right)")
        }
        guard let year = Int64(match.1), let month = Int64(match.2), let day = Int64(match.3), let hour = match.4.flatMap({ Int64($0) }),
            let minute = match.5.flatMap({ Int64($0) })
        else { throw wrong }
        let second = match.6.flatMap { Int64($0) } ?? 0
        let fraction = match.7.map { String(($0 + "00").prefix(3)) }.flatMap { Int64($0) } ?? 0
        guard (1...12).contains(month), (1...Self.days(in: month, of: year)).contains(day), hour <= 23, minute <= 59, second <= 60 else { throw wrong }
        var shift: Int64 = 0
        if zone.count == 6, let hours = Int64(zone.dropFirst().prefix(2)), let minutes = Int64(zone.suffix(2)) {
            guard hours <= 23, minutes <= 59 else { throw wrong }
            shift = (hours * 60 + minutes) * (zone.hasPrefix("-") ? -1 : 1)
        }
        let seconds = daysSince1970(year, month, day) * 86_400 + hour * 3600 + (minute - shift) * 60 + second
        guard let time = MillisecondTimestamp(seconds * 1000 + fraction) else { throw Wrong(description: "'\(text)' is before 1970") }
        return time
    }

    private static func days(in month: Int64, of year: Int64) -> Int64 {
        if month == 2 { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28 }
        return [4, 6, 9, 11].contains(month) ? 30 : 31
    }

    /// Of the Gregorian calendar: counts whole years from March on, so that the leap day is the last of its year.
    static func daysSince1970(_ year: Int64, _ month: Int64, _ day: Int64) -> Int64 {
        let shifted = month <= 2 ? year - 1 : year
        let era = shifted >= 0 ? shifted / 400 : (shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    }
}

extension MillisecondTimestamp {
    /// RFC 3339 in UTC, with milliseconds where there are any: `2026-03-01T02:03:04Z`.
    public var text: String {
        let days = milliseconds / 86_400_000
        let rest = milliseconds % 86_400_000
        // The inverse of `TimeExpression.daysSince1970`.
        let z = days + 719_468
        let era = z / 146_097
        let dayOfEra = z - era * 146_097
        let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shifted = (5 * dayOfYear + 2) / 153
        let month = shifted < 10 ? shifted + 3 : shifted - 9
        let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
        func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }
        let date = "\(String(repeating: "0", count: max(0, 4 - "\(year)".count)))\(year)-\(two(month))-\(two(dayOfYear - (153 * shifted + 2) / 5 + 1))"
        let thousandths = rest % 1000
        let fraction = thousandths == 0 ? "" : "." + String(repeating: "0", count: 3 - "\(thousandths)".count) + "\(thousandths)"
        return "\(date)T\(two(rest / 3_600_000)):\(two(rest / 60_000 % 60)):\(two(rest / 1000 % 60))\(fraction)Z"
    }
}

/// A length of time in few letters, for tables: `0s`, `340ms`, `12s`, `3m 20s`, `5h 12m`, `9d 4h`.
public func shortDuration(milliseconds: Int64) -> String {
    let sign = milliseconds < 0 ? "-" : ""
    let size = milliseconds.magnitude
    if size == 0 { return "0s" }
    if size < 1000 { return "\(sign)\(size)ms" }
    let seconds = size / 1000
    if seconds < 60 { return size < 10_000 && size % 1000 >= 100 ? "\(sign)\(seconds).\(size % 1000 / 100)s" : "\(sign)\(seconds)s" }
    let parts: [(UInt64, String)] = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")]
    let first = parts.firstIndex { $0.0 > 0 } ?? 3
    let shown = parts[first..<min(first + 2, parts.count)].filter { $0.0 > 0 }
    return sign + shown.map { "\($0.0)\($0.1)" }.joined(separator: " ")
}
