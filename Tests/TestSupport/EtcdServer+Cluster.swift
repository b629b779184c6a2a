import Foundation

/// What an operator does to an etcd cluster, through its gateway.
extension EtcdServer {
    private struct Status: Decodable {
        struct Header: Decodable {
            let member_id: String?
            let revision: String?
        }
        let header: Header
        let leader: String?
    }

    private func status(_ member: Int) async throws -> Status {
        try JSONDecoder().decode(Status.self, from: Data(try await post("/v3/maintenance/status", "{}", to: member).utf8))
    }

    /// Which member leads, as far as those that answer know; waits for an election.
    public func leader() async throws -> Int {
        var found: Int?
        try await eventually("etcd has a leader", timeout: .seconds(20)) {
            for member in ports.indices {
                guard let status = try? await status(member), let leader = status.leader, leader != "0" else { continue }
                if leader == status.header.member_id { found = member }
            }
            return found != nil
        }
        guard let found else { throw Failure(description: "no member leads") }
        return found
    }

    /// The store's revision now.
    public func revision() async throws -> Int64 {
        for member in ports.indices {
            if let text = try? await status(member).header.revision, let number = Int64(text) { return number }
        }
        throw Failure(description: "no member tells the revision")
    }

    /// Takes the history away up to now, at once.
    public func compact() async throws {
        let answer = try await post("/v3/kv/compaction", #"{"revision":"\#(try await revision())","physical":true}"#)
        // Compacted already, when nothing was written since the last time.
        guard !answer.contains("error") || answer.contains("compacted") else { throw Failure(description: answer) }
    }

    /// Writes `bytes` of junk into one key; false: there is no space any more.
    public func fill(_ key: String, bytes: Int) async throws -> Bool {
        let value = Data(repeating: 0x61, count: bytes).base64EncodedString()
        let answer = try await post("/v3/kv/put", #"{"key":"\#(Data(key.utf8).base64EncodedString())","value":"\#(value)"}"#)
        if answer.contains("space exceeded") { return false }
        guard answer.contains("revision") else { throw Failure(description: answer) }
        return true
    }

    public func delete(_ key: String) async throws {
        try await post("/v3/kv/deleterange", #"{"key":"\#(Data(key.utf8).base64EncodedString())"}"#)
    }

    /// Gives the space of what was compacted back, and ends every alarm: what `etcdctl defrag` and `etcdctl alarm disarm` do.
    public func defragmentAndDisarm() async throws {
        struct Alarms: Decodable {
            struct Alarm: Decodable {
                let memberID: String
                let alarm: String
            }
            let alarms: [Alarm]?
        }
        for member in ports.indices { try await post("/v3/maintenance/defragment", "{}", to: member) }
        let answer = try await post("/v3/maintenance/alarm", #"{"action":"GET"}"#)
        for alarm in try JSONDecoder().decode(Alarms.self, from: Data(answer.utf8)).alarms ?? [] {
            try await post("/v3/maintenance/alarm", #"{"action":"DEACTIVATE","memberID":"\#(alarm.memberID)","alarm":"\#(alarm.alarm)"}"#)
        }
    }

    /// One change of a key.
    public struct Change: Sendable {
        public let revision: Int64
        public let key: String
        public let value: [UInt8]
    }

    /// Every value that the keys beginning with `prefix` have had, oldest first; deletions are left out. Nothing must have been compacted.
    public func history(under prefix: String) async throws -> [Change] {
        struct Answer: Decodable {
            struct Pair: Decodable {
                let key: Data
                let value: Data?
            }
            let kvs: [Pair]?
        }
        var end = Array(prefix.utf8)
        guard let last = end.popLast(), last < 0xFF else { throw Failure(description: "'\(prefix)' has no end") }
        end.append(last + 1)
        let (begin, stop) = (Data(prefix.utf8).base64EncodedString(), Data(end).base64EncodedString())
        var changes: [Change] = []
        for revision in 1...(try await revision()) {
            let answer = try await post(
                "/v3/kv/range", #"{"key":"\#(begin)","range_end":"\#(stop)","revision":"\#(revision)","min_mod_revision":"\#(revision)"}"#)
            for pair in try JSONDecoder().decode(Answer.self, from: Data(answer.utf8)).kvs ?? [] {
                changes.append(
                    Change(revision: revision, key: String(decoding: pair.key, as: UTF8.self), value: pair.value.map(Array.init) ?? []))
            }
        }
        return changes
    }
}
