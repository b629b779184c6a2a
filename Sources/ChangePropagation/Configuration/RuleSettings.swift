/// What stands in `defaults` for all rules and in a rule for itself.
struct RuleSettings {
    var concurrency = 30
    var retry = RetryPolicy()
    var immediateRetry = RetryPolicy.immediate(limit: 0)
    var statuses = StatusRules()
    var timeout = Duration.seconds(420)
    var order = Rule.Order.none
    var onFailure = Rule.FailurePolicy.deadLetter
    var filters = EventFilters()
    var dedupe = Dedupe()
    var isReported = true
}

/// Reads them out of a map, over those that hold otherwise.
struct RuleSettingsReader {
    /// The types of limiters that have windows.
    let limiterTypes: Set<String>

    func read(_ map: ConfigurationMap, over base: RuleSettings) -> RuleSettings {
        var settings = base
        settings.concurrency = map.int("concurrency", in: 1...10_000) ?? base.concurrency
        settings.retry = RetryPolicy(
            limit: map.int("retry_limit", in: 0...100) ?? base.retry.limit,
            delay: map.duration("retry_delay", in: .zero...RetryPolicy.longestPause, bareMilliseconds: true) ?? base.retry.delay,
            factor: map.number("retry_factor", in: 1...100) ?? base.retry.factor)
        settings.immediateRetry = map.int("immediate_retries", in: 0...RetryPolicy.mostImmediate).map { .immediate(limit: $0) } ?? base.immediateRetry
        settings.statuses = StatusRules(
            retryOn: patterns("retry_on", map) ?? base.statuses.retryOn, ignore: patterns("ignore", map) ?? base.statuses.ignore)
        settings.timeout = map.duration("timeout", in: .milliseconds(1)...(.seconds(3600)), bareMilliseconds: true) ?? base.timeout
        settings.order = map.choice("order", Rule.Order.allCases.map { ($0.rawValue, $0) }) ?? base.order
        settings.onFailure = map.choice("on_failure", Rule.FailurePolicy.allCases.map { ($0.rawValue, $0) }) ?? base.onFailure
        settings.filters.maxHops = map.int("max_hops", in: 1...1000) ?? base.filters.maxHops
        settings.filters.sample = sample(map) ?? base.filters.sample
        settings.filters.blacklist = blacklist(map) ?? base.filters.blacklist
        settings.filters.limiters = limiters(map) ?? base.filters.limiters
        settings.dedupe = DedupeReader().read(map, over: base.dedupe)
        settings.isReported = map.bool("report") ?? base.isReported
        return settings
    }

    /// `sample`: a rate, or a map with `rate` and `hash_template`.
    func sample(_ map: ConfigurationMap) -> Sample? {
        guard let node = map.node("sample") else { return nil }
        guard node.entries != nil, let inner = ConfigurationMap(node, name: map.describe("sample")) else {
            return map.number("sample", in: 0...1).map { Sample(rate: $0, template: nil) }
        }
        inner.reportMissing("rate", "give the share of events that is acted on, from 0 to 1")
        let rate = inner.number("rate", in: 0...1)
        let text = inner.string("hash_template", "a template such as '{{message.meta.domain}}'")
        let template = text.flatMap { text in inner.node("hash_template").flatMap { self.template(text, $0, inner.describe("hash_template")) } }
        inner.finish()
        return rate.map { Sample(rate: $0, template: template) }
    }

    private func blacklist(_ map: ConfigurationMap) -> Blacklist? {
        guard let inner = map.map("blacklist") else { return nil }
        var blacklist = Blacklist()
        for entry in inner.allEntries {
            let texts = inner.strings(entry.key) ?? []
            blacklist.entries[entry.key] = texts.compactMap { text, node in blacklisted(text, node, inner.describe(entry.key)) }
        }
        return blacklist
    }

    private func blacklisted(_ text: String, _ node: ConfigurationNode, _ place: String) -> Blacklist.Entry? {
        if RuleReader.isRegularExpression(text) {
            do { return .expression(try RegularExpression(text)) } catch {
                node.report("\(place): \(error.message)")
                return nil
            }
        }
        // A whole part of the path: "B" is not the end of "/wiki/AB".
        let decoded = decodeURIComponent(text) ?? text
        return .end(decoded.hasPrefix("/") ? decoded : "/" + decoded)
    }

    private func limiters(_ map: ConfigurationMap) -> [(type: String, key: TextTemplate)]? {
        guard let inner = map.map("limiters") else { return nil }
        return inner.allEntries.compactMap { entry in
            if !limiterTypes.contains(entry.key) {
                let hint = didYouMean(entry.key, among: limiterTypes)
                entry.keyNode.warn(
                    "\(inner.describe(entry.key)) limits nothing; say how much is too much at the top of the file: "
                        + "limiters: {\(entry.key): {interval: 168h, limit: 100}}\(hint)")
            }
            guard let text = inner.string(entry.key, "a template such as '{{message.meta.uri}}'") else { return nil }
            return template(text, entry.value, inner.describe(entry.key)).map { (entry.key, $0) }
        }
    }

    private func template(_ text: String, _ node: ConfigurationNode, _ place: String) -> TextTemplate? {
        do { return try TextTemplate(text) } catch {
            node.report("\(place): \(error.message)")
            return nil
        }
    }

    /// `limiters` of the whole file: windows by type, one or a list of them.
    static func windows(_ map: ConfigurationMap?) -> [String: [Limiters.Window]] {
        guard let map else { return [:] }
        var windows: [String: [Limiters.Window]] = [:]
        for entry in map.allEntries {
            if entry.value.items?.isEmpty == true {
                entry.value.report("\(map.describe(entry.key)) is an empty list; give at least one window")
            }
            windows[entry.key] = (entry.value.items ?? [entry.value]).compactMap { node in
                guard let inner = ConfigurationMap(node, name: map.describe(entry.key)) else { return nil }
                inner.reportMissing("interval", "give the length of the window, such as interval: 1h")
                inner.reportMissing("limit", "give how many failures are too many, such as limit: 100")
                let interval = inner.duration("interval", in: .milliseconds(1)...(.seconds(36_000_000)), bareUnit: .seconds(1))
                let limit = inner.int("limit", in: 1...10_000)
                inner.finish()
                guard let interval, let limit else { return nil }
                return Limiters.Window(interval: interval, limit: limit)
            }
        }
        return windows
    }

    /// `retry_on` and `ignore`: a status, a list of them, or (as change-propagation writes it) either under `status`.
    private func patterns(_ key: String, _ map: ConfigurationMap) -> [StatusPattern]? {
        guard var node = map.node(key) else { return nil }
        if node.entries != nil {
            guard let inner = ConfigurationMap(node, name: map.describe(key)) else { return nil }
            if inner.allEntries.isEmpty { inner.reportMissing("status", "give the statuses that are meant, such as status: [503]") }
            let status = inner.node("status")
            for entry in inner.allEntries where entry.key != "status" {
                entry.keyNode.report("\(map.describe(key)): conditions other than \"status\", such as \"\(entry.key)\", are not supported yet")
            }
            guard let status else { return nil }
            node = status
        }
        let place = map.describe(key)
        return (node.items ?? [node]).compactMap { item in
            let text: String? =
                switch item.scalar {
                case .integer(let number)?: String(number)
                case .text(let text)?: text
                default: nil
                }
            guard let pattern = text.flatMap(StatusPattern.init) else {
                item.report("\(place) must be HTTP statuses such as 503, or patterns such as 50x where x is any digit, not \(item.kind)")
                return nil
            }
            return pattern
        }
    }
}
