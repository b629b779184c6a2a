/// What one rule would do with one event, without doing it: for `switchback rules test`.
public struct RuleTrial: Sendable, Equatable {
    public let rule: String
    /// Which case matched, from 1; nil: none, or it could not be told.
    public let matchingCase: Int?
    /// How many cases the rule has.
    public let cases: Int
    /// What regular expressions captured, in the shape of `match`; nil: nothing.
    public let captures: JSONValue?
    /// Exactly what would be sent, one after the other.
    public let requests: [ActionRequest]
    /// Why nothing is sent though it matches; nil: nothing is in the way.
    public let leftOut: LeftOut?
    /// Why the event can't be finished by this rule; nil: it can.
    public let error: EventError?
}

extension Rule {
    /// Tries the rule on `event`. Sends nothing.
    public func trial(_ event: JSONValue) -> RuleTrial {
        var matching: Int?
        var captures: JSONValue?
        var requests: [ActionRequest] = []
        var leftOut: LeftOut?
        var failure: EventError?
        do throws(EventError) {
            if let index = try firstMatch(event) {
                matching = index + 1
                captures = try cases[index].match?.captures(event)
                switch try decide(event, cases[index]) {
                case .act(let made): requests = made
                case .leaveOut(let reason): leftOut = reason
                case .noMatch: break
                }
            }
        } catch { failure = error }
        return RuleTrial(
            rule: name, matchingCase: matching, cases: cases.count, captures: captures, requests: requests, leftOut: leftOut, error: failure)
    }
}
