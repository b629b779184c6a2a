import KafkaLog

#if canImport(FoundationEssentials)
import FoundationEssentials
#else
import Foundation
#endif

/// Positions in a file: what `offsets export` writes and `offsets import` reads, as JSON or CSV.
public struct PlanFile: Codable, Sendable, Hashable {
    public static let currentFormat = 1

    public struct Entry: Codable, Sendable, Hashable {
        public var topic: String
        public var partition: Int32
        /// Whose cluster `offset` is of.
        public var datacenter: String
        /// Kafka's id of that cluster: an offset means nothing in another one. nil: not checked.
        public var cluster: String?
        public var offset: Int64
        /// The time of the record at the offset, for people: ms since 1970.
        public var time: Int64?

        public init(topic: String, partition: Int32, datacenter: String, cluster: String?, offset: Int64, time: Int64?) {
            self.topic = topic
            self.partition = partition
            self.datacenter = datacenter
            self.cluster = cluster
            self.offset = offset
            self.time = time
        }
    }

    /// Why a file is no plan: where, what, and what would be right.
    public struct Wrong: Error, Sendable, Hashable, CustomStringConvertible { public let description: String }

    public var format: Int
    /// Whose positions they are.
    public var group: String
    public var entries: [Entry]

    public init(group: String, entries: [Entry]) {
        format = Self.currentFormat
        self.group = group
        self.entries = entries
    }

    public var csv: [[String]] {
        [["group", "topic", "partition", "datacenter", "cluster", "offset", "time"]]
            + entries.map { [group, $0.topic, "\($0.partition)", $0.datacenter, $0.cluster ?? "", "\($0.offset)", GroupSnapshot.field($0.time)] }
    }

    /// Reads what either form wrote: JSON begins with `{`.
    public init(parsing text: String) throws(Wrong) {
        if text.first(where: { !$0.isWhitespace }) == "{" {
            do { self = try JSONDecoder().decode(PlanFile.self, from: Data(text.utf8)) } catch { throw Wrong(description: Self.words(error)) }
        } else { try self.init(csv: text) }
        guard format == Self.currentFormat else { throw Wrong(description: "format \(format) is not known to this version; \(Self.currentFormat) would be right") }
        var seen: Set<TopicPartition> = []
        for entry in entries {
            let partition = TopicPartition(topic: entry.topic, partition: entry.partition)
            guard seen.insert(partition).inserted else { throw Wrong(description: "\(partition) is there twice") }
            guard entry.partition >= 0, entry.offset >= 0 else { throw Wrong(description: "\(partition): partition and offset must be 0 or more") }
        }
        guard !entries.isEmpty else { throw Wrong(description: "there is no position in it") }
    }

    private static func words(_ error: any Error) -> String {
        guard let error = error as? DecodingError else { return "it is no plan's JSON" }
        switch error {
        case .keyNotFound(let key, let context): return "\(place(context)): '\(key.stringValue)' is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context): return "\(place(context)): \(context.debugDescription)"
        default: return "it is no plan's JSON: an object with format, group and entries would be right"
        }
    }

    private static func place(_ context: DecodingError.Context) -> String {
        context.codingPath.isEmpty ? "the plan" : context.codingPath.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: " ")
    }

    private init(csv text: String) throws(Wrong) {
        let records: [(line: Int, fields: [String])]
        do { records = try CSV.records(text) } catch { throw Wrong(description: "\(error)") }
        guard let header = records.first else { throw Wrong(description: "it is empty") }
        let columns = Dictionary(header.fields.enumerated().map { ($1, $0) }) { first, _ in first }
        for name in ["topic", "partition", "datacenter", "offset"] where columns[name] == nil {
            throw Wrong(description: "line \(header.line): no column '\(name)'; topic, partition, datacenter and offset are needed")
        }
        format = Self.currentFormat
        group = ""
        entries = []
        for record in records.dropFirst() {
            func field(_ name: String) -> String? { columns[name].flatMap { $0 < record.fields.count ? record.fields[$0] : nil } }
            func number<Number: FixedWidthInteger>(_ name: String) throws(Wrong) -> Number {
                guard let number = field(name).flatMap({ Number($0) }) else {
                    throw Wrong(description: "line \(record.line): \(name) is '\(field(name) ?? "")'; a whole number would be right")
                }
                return number
            }
            let time: Int64? = field("time").flatMap { $0.isEmpty ? nil : $0 } == nil ? nil : try number("time")
            guard let topic = field("topic"), !topic.isEmpty else { throw Wrong(description: "line \(record.line): topic is empty") }
            let cluster = field("cluster").flatMap { $0.isEmpty ? nil : $0 }
            entries.append(
                Entry(topic: topic, partition: try number("partition"), datacenter: field("datacenter") ?? "", cluster: cluster, offset: try number("offset"), time: time))
            if let named = field("group") { group = named }
        }
    }
}
