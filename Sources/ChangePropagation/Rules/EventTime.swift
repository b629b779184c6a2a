import Foundation

extension Date {
    /// A time as events write it: ISO 8601 with a zone, with or without a fraction of a second. nil: it is none.
    init?(eventTime text: String) {
        for style in [Date.ISO8601FormatStyle(), Date.ISO8601FormatStyle(includingFractionalSeconds: true)] {
            if let date = try? style.parse(text) {
                self = date
                return
            }
        }
        return nil
    }
}
