import ArgumentParser
import Demo
import Foundation
import KafkaLog

/// Row (a) against what users have: kcat and Kafka clients for Python, each with its default settings and tuned, each in a process of its own.
struct PeersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peers", abstract: "Measures reading, count-only, through KafkaLog, kcat and clients for Python.")

    @Option(help: "Records that one run reads (at least 100000).") var records: Int64 = 1_000_000
    @Option(parsing: .upToNextOption, help: "Bytes of a record's value (at least 1); each one given is a row.") var size: [Int] = [512, 100]
    @Option(help: "Partitions (at least 2).") var partitions: Int32 = 6
    @Option(help: "Environment of Python that has the clients (`make peers-venv` makes it).") var venv = ".build/bench-venv"
    @OptionGroup var options: RowOptions

    /// KafkaLog's records per second to those of the fastest peer.
    static let floor = 1.0

    private enum Side: Hashable {
        case kafkaLog, c
        /// By its place among those that are there.
        case peer(Int)

        static func all(_ peers: [Peer]) -> [Side] { [.kafkaLog, .c] + peers.indices.map(Side.peer) }
    }

    func validate() throws {
        guard records >= 100_000, !size.isEmpty, size.allSatisfy({ $0 > 0 }), partitions > 1 else {
            throw ValidationError("records must be at least 100000, size at least 1, partitions at least 2")
        }
    }

    func run() async throws {
        let found = Peer.all.filter { $0.tool.isThere(venv) }
        let missing = Set(Peer.all.map(\.tool)).subtracting(found.map(\.tool)).map(\.name).sorted()
        for size in size {
            let broker = try BrokerProcess.start()
            defer { broker.stop() }
            Figures.note("writing \(records) records of \(size) bytes")
            try await Filling(topic: ConsumeRow.topic, partitions: partitions, records: records, size: size).write(to: broker.servers)
            let result = try await RowOptions.withDirectory { try measure(found, missing, broker.servers, $0, size: size) }
            try options.finish(result)
        }
    }

    private func measure(_ peers: [Peer], _ missing: [String], _ servers: String, _ directory: URL, size: Int) throws -> RowResult {
        let rounds = try Rounds.measure(Side.all(peers), runs: options.runs) { side in
            switch side {
            case .kafkaLog, .c:
                return try ChildRun.run(
                    ConsumeChild.arguments(servers, ConsumeRow.topic, partitions: partitions, records: records, settings: ConsumeRow.near, reader: side == .c ? .c : .kafkaLog))
            case .peer(let index):
                let peer = peers[index]
                return try peer.run(servers, partitions: partitions, records: records / peer.share, venv: venv, directory: directory)
            }
        }
        let theirs = peers.indices.map(Side.peer)
        let fastest = peers.indices.max { rounds.median(.peer($0), \.rate) < rounds.median(.peer($1), \.rate) }
        return RowResult(
            row: "a", name: "peers, \(size) bytes",
            load: "\(records) records of \(size) bytes, count-only, \(partitions) partitions, median of \(options.runs), each run a process of its own",
            sides: [rounds.side("KafkaLog", .kafkaLog), rounds.side("C, KafkaLog's settings", .c)] + peers.indices.map { rounds.side(peers[$0].name, .peer($0)) },
            goals: fastest.map {
                [
                    .init(what: "KafkaLog to the fastest peer (\(peers[$0].name))", value: rounds.ratio(.kafkaLog, to: .peer($0)), atLeast: Self.floor),
                    .init(what: "CPU per record, the cheapest peer to KafkaLog", value: rounds.inverse(.kafkaLog, to: theirs, \.cpu)),
                ]
            } ?? [],
            remark: remark(missing))
    }

    private func remark(_ missing: [String]) -> String {
        "The peers' time runs from assign() to the last record, kcat's from its first to its last block of output; kcat's CPU time has its start in it. "
            + "Where a peer reads a part of the records, its name says so. Not measured: \((missing + ["franz-go (Go), swift-kafka-client: neither Debian nor pip has them"]).joined(separator: ", ")). \(Rounds<Side>.remark)"
    }
}
