import KafkaLog
import Offsets
import Testing

@Suite("Times as operators write them")
struct TimeExpressionTests {
    private static let now = MillisecondTimestamp(clamped: 1_772_330_584_000)

    @Test(
        "Every form comes to the right moment",
        arguments: [
            ("2026-03-01T02:03:04Z", 1_772_330_584_000), ("2026-03-01T02:03:04.5Z", 1_772_330_584_500), ("2026-03-01 02:03:04+00:00", 1_772_330_584_000),
            ("2026-03-01T03:33:04+01:30", 1_772_330_584_000), ("2026-02-28T21:03:04-05:00", 1_772_330_584_000), ("2026-03-01T02:03Z", 1_772_330_580_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000), ("1772330584000", 1_772_330_584_000), ("-15m", 1_772_329_684_000), ("-1h30m", 1_772_325_184_000),
            ("-500ms", 1_772_330_583_500), ("-2d", 1_772_157_784_000),
        ])
    func right(_ text: String, _ milliseconds: Int64) throws {
        #expect(try TimeExpression(text).resolved(now: Self.now).milliseconds == milliseconds)
    }

    @Test(
        "What is no time is refused with what would be right",
        arguments: [
            ("2026-03-01T02:03:04", "has no zone"), ("2026-03-01", "has no zone"), ("2026-03-01Z", "is no time"), ("2026-02-30T00:00:00Z", "is no time"), ("2026-13-01T00:00:00Z", "is no time"),
            ("2026-03-01T24:00:00Z", "is no time"), ("yesterday", "is no time"), ("", "is no time"), ("-15", "-15m"), ("-m", "-15m"), ("-", "-15m"), ("1772330584", "1772330584000"),
            ("99999999999999999999", "9999"), ("-99999d", "-15m"),
        ])
    func wrong(_ text: String, _ says: String) {
        do {
            _ = try TimeExpression(text)
            Issue.record("'\(text)' was taken")
        } catch { #expect(error.description.contains(says), "\(error)") }
    }

    @Test("A time is written as it is read")
    func written() throws {
        for text in ["2026-03-01T02:03:04Z", "1999-12-31T23:59:59.007Z", "2000-02-29T00:00:00Z", "1975-01-01T00:00:00Z"] {
            #expect(try TimeExpression(text).resolved(now: Self.now).text == text)
        }
    }

    @Test("Lengths of time in few letters", arguments: [
        (0, "0s"), (340, "340ms"), (1_500, "1.5s"), (1_000, "1s"), (59_999, "59s"), (200_000, "3m 20s"), (180_000, "3m"), (18_720_000, "5h 12m"),
        (792_000_000, "9d 4h"), (-1_500, "-1.5s"),
    ])
    func lengths(_ milliseconds: Int64, _ text: String) { #expect(shortDuration(milliseconds: milliseconds) == text) }
}
