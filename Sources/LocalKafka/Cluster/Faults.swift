import Synchronization

/// What goes wrong with a request.
public enum FaultAction: Sendable, Hashable {
    /// Answer with this error, without doing what was asked.
    case error(ErrorCode)
    /// Do what was asked, then never answer. The connection stays open and serves what follows.
    case dropReply
    /// Close the connection without doing what was asked for this partition.
    case closeConnection
    /// Do what was asked, then answer only after this time.
    case delayReply(Duration)
    /// Do what was asked, send this many bytes of the answer (its size counts), then close the connection.
    case cutReply(afterBytes: Int)
}

/// A fault that requests run into; for tests.
public struct FaultRule: Sendable {
    public var apiKey: APIKey?
    public var brokerID: Int32?
    public var topic: String?
    public var partition: Int32?
    /// How often it strikes before it is gone; nil: until it is removed. A rule with a topic strikes once per partition
    /// that matches, others once per request.
    public var count: Int?
    public var action: FaultAction

    /// nil for `apiKey`, `brokerID`, `topic`, `partition` means any.
    public init(
        _ action: FaultAction, apiKey: APIKey? = nil, brokerID: Int32? = nil, topic: String? = nil,
        partition: Int32? = nil, count: Int? = 1
    ) {
        self.action = action
        self.apiKey = apiKey
        self.brokerID = brokerID
        self.topic = topic
        self.partition = partition
        self.count = count
    }

    fileprivate func matches(apiKey: APIKey, brokerID: Int32) -> Bool {
        (self.apiKey == nil || self.apiKey == apiKey) && (self.brokerID == nil || self.brokerID == brokerID)
    }
}

/// The faults that are set on a cluster. Safe to use from any thread, while requests are served.
public final class FaultControl: Sendable {
    /// Names one rule, to remove it by.
    public struct RuleID: Hashable, Sendable { fileprivate let number: Int }

    private struct State {
        var nextNumber = 0
        var rules: [(id: Int, rule: FaultRule)] = []
        var struck: [Int: Int] = [:]
    }
    private let state = Mutex(State())

    init() {}

    @discardableResult
    public func add(_ rule: FaultRule) -> RuleID {
        state.withLock { state in
            state.nextNumber += 1
            if rule.count ?? 1 > 0 { state.rules.append((state.nextNumber, rule)) }
            return RuleID(number: state.nextNumber)
        }
    }

    /// Removes one rule; nothing happens when it is gone already.
    public func remove(_ id: RuleID) { state.withLock { state in state.rules.removeAll { $0.id == id.number } } }

    public func removeAll() { state.withLock { $0.rules.removeAll() } }

    /// How often the rule has struck, also after it is used up.
    public func strikes(_ id: RuleID) -> Int { state.withLock { $0.struck[id.number] ?? 0 } }

    /// Starts one request: rules without a topic strike here.
    func begin(apiKey: APIKey, brokerID: Int32) -> RequestFaults {
        let actions = take { $0.topic == nil && $0.partition == nil && $0.matches(apiKey: apiKey, brokerID: brokerID) }
        return RequestFaults(control: self, apiKey: apiKey, brokerID: brokerID, wide: actions)
    }

    fileprivate func take(apiKey: APIKey, brokerID: Int32, topic: String, partition: Int32) -> [FaultAction] {
        take { rule in
            (rule.topic != nil || rule.partition != nil) && rule.matches(apiKey: apiKey, brokerID: brokerID)
                && (rule.topic == nil || rule.topic == topic) && (rule.partition == nil || rule.partition == partition)
        }
    }

    private func take(where matches: (FaultRule) -> Bool) -> [FaultAction] {
        state.withLock { state in
            guard !state.rules.isEmpty else { return [] }
            var actions: [FaultAction] = []
            for index in state.rules.indices where matches(state.rules[index].rule) {
                actions.append(state.rules[index].rule.action)
                state.struck[state.rules[index].id, default: 0] += 1
                if let count = state.rules[index].rule.count { state.rules[index].rule.count = count - 1 }
            }
            if !actions.isEmpty { state.rules.removeAll { $0.rule.count == 0 } }
            return actions
        }
    }
}

/// The faults that one request has run into so far.
final class RequestFaults: Sendable {
    private struct State {
        var error: ErrorCode?
        var dropsReply = false
        var closes = false
        var delay: Duration?
        var cut: Int?

        mutating func apply(_ actions: [FaultAction]) {
            for action in actions {
                switch action {
                case .error(let code): error = code
                case .dropReply: dropsReply = true
                case .closeConnection: closes = true
                case .delayReply(let time): delay = max(delay ?? .zero, time)
                case .cutReply(let bytes): cut = max(0, bytes)
                }
            }
        }
    }
    private let state: Mutex<State>
    private let control: FaultControl
    private let apiKey: APIKey
    private let brokerID: Int32

    init(control: FaultControl, apiKey: APIKey, brokerID: Int32, wide: [FaultAction]) {
        self.control = control
        self.apiKey = apiKey
        self.brokerID = brokerID
        var first = State()
        first.apply(wide)
        state = Mutex(first)
    }

    var dropsReply: Bool { state.withLock { $0.dropsReply } }
    var delay: Duration? { state.withLock { $0.delay } }
    var cut: Int? { state.withLock { $0.cut } }

    func checkClose() throws {
        if state.withLock({ $0.closes }) { throw ConnectionMustClose(reason: "fault") }
    }

    func error(topic: String?, partition: Int32?) throws -> ErrorCode? {
        var narrow = State()
        if let topic { narrow.apply(control.take(apiKey: apiKey, brokerID: brokerID, topic: topic, partition: partition ?? -1)) }
        let wide = state.withLock { state in
            if narrow.dropsReply { state.dropsReply = true }
            if let cut = narrow.cut { state.cut = cut }
            if let delay = narrow.delay { state.delay = max(state.delay ?? .zero, delay) }
            return state.error
        }
        if narrow.closes { throw ConnectionMustClose(reason: "fault") }
        return narrow.error ?? wide
    }
}
