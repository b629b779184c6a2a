import KafkaLog

/// Reads `dedupe`, `claim_ttl`, `root_claim_ttl` and `delivery`.
struct DedupeReader {
    private static let names = ["none", "id", "content", "root"]

    func read(_ map: ConfigurationMap, over base: Dedupe) -> Dedupe {
        var dedupe = base
        if let kinds = kinds(map) {
            dedupe.key = kinds.contains("id") ? .id : kinds.contains("content") ? .content : nil
            dedupe.byRoot = kinds.contains("root")
        }
        let bounds = Duration.seconds(1)...Dedupe.longestWindow
        // change-propagation counts these in seconds.
        dedupe.window = map.duration("claim_ttl", in: bounds, bareUnit: .seconds(1)) ?? base.window
        dedupe.rootWindow = map.duration("root_claim_ttl", in: bounds, bareUnit: .seconds(1)) ?? base.rootWindow
        dedupe.delivery = map.choice("delivery", Dedupe.Delivery.allCases.map { ($0.rawValue, $0) }) ?? base.delivery
        return dedupe
    }

    /// nil: it is not there, or wrong.
    private func kinds(_ map: ConfigurationMap) -> Set<String>? {
        guard let given = map.strings("dedupe", "one of none, id, content, root, or a list of them") else { return nil }
        var kinds: Set<String> = []
        for (text, node) in given {
            guard Self.names.contains(text) else {
                node.report("\(map.describe("dedupe")) must be one of \(Self.names.joined(separator: ", ")), not \"\(text)\"\(didYouMean(text, among: Self.names))")
                return nil
            }
            kinds.insert(text)
        }
        if kinds.isSuperset(of: ["id", "content"]) || kinds.contains("none") && kinds.count > 1, let node = map.node("dedupe") {
            node.report("\(map.describe("dedupe")) must be id or content, with or without root, or none")
            return nil
        }
        return kinds
    }

    /// What counts for the rule in `map`; nil: nothing. What at most once can't go together with is reported, or turned off in `settings`.
    func check(_ map: ConfigurationMap, _ settings: inout RuleSettings, longestRewind: Duration) -> Dedupe? {
        var dedupe = settings.dedupe
        if dedupe.delivery == .atMostOnce {
            // There is no claim without something that tells events apart.
            dedupe.key = dedupe.key ?? .id
            checkAtMostOnce(map, &settings)
        }
        guard dedupe.key != nil || dedupe.byRoot else {
            for key in ["claim_ttl", "root_claim_ttl"] where map.has(key) {
                map.node(key)?.warn("\(map.describe(key)) counts only with \"dedupe\", such as dedupe: id")
            }
            return nil
        }
        let windows = [("claim_ttl", dedupe.window, dedupe.key != nil), ("root_claim_ttl", dedupe.rootWindow, dedupe.byRoot)]
        for (key, window, counts) in windows where counts && window < longestRewind {
            (map.has(key) ? map.node(key) ?? map.node : map.node).report(
                "\(map.describe(key)) is \(ScalarFormat.describe(window)), and a resume may give events again that were acted on "
                    + "\(ScalarFormat.describe(longestRewind)) ago (Docs/Configuration.md, \"Events that come twice\"); that or more would be right")
        }
        return dedupe
    }

    private func checkAtMostOnce(_ map: ConfigurationMap, _ settings: inout RuleSettings) {
        let why = "can't go together with delivery: at-most-once"
        if map.has("retry_limit"), settings.retry.limit > 0 {
            map.node("retry_limit")?.report("\(map.describe("retry_limit")) \(why), which makes no action twice; retry_limit: 0 would be right")
        }
        if map.has("immediate_retries"), settings.immediateRetry.limit > 0 {
            map.node("immediate_retries")?.report("\(map.describe("immediate_retries")) \(why), which makes no action twice; immediate_retries: 0 would be right")
        }
        if settings.onFailure == .halt {
            (map.node("on_failure") ?? map.node).report("\"on_failure\": halt in \(map.name) \(why): the event would be tried again; dead_letter or skip would be right")
        }
        settings.retry = RetryPolicy(limit: 0, delay: settings.retry.delay, factor: settings.retry.factor)
        settings.immediateRetry = .immediate(limit: 0)
    }
}
