import ArgumentParser
import ChangePropagation
import Foundation
import Handover
import KafkaLog
import Offsets

extension HandoverCommand {
    /// `switchback handover proof`: whether anything of an origin is left to do anywhere.
    struct Proof: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prove that nothing of an origin is left to do, or say what is.",
            discussion: """
                For each partition: whether all that is in its owner's cluster has been done, and what the origin's own cluster holds that
                the mirror has not brought. Where the origin can't be asked, it says until when its events have come. Reads only.
                Exit status 1 when something is left or unknown.

                Example:
                  switchback handover proof --config worker.yaml --group purge --origin eqiad
                  switchback handover proof --config worker.yaml --group purge \\
                      --origin eqiad --output json
                """)

        enum Output: String, ExpressibleByArgument, CaseIterable { case table, json }

        @Option(name: .shortAndLong, help: ArgumentHelp("The worker.yaml that names store and clusters.", valueName: "file"))
        var config: String
        @OptionGroup var target: TargetOptions
        @Option(help: "table or json.") var output = Output.table

        func run() async throws {
            let key = try target.key()
            let configuration = try WorkerConfiguration.load(path: config)
            guard configuration.datacenters[key.origin] != nil else {
                let known = configuration.datacenters.keys.sorted().map(\.name).joined(separator: ", ")
                throw Failure("--origin \(key.origin): no such datacenter in \(config); \(known) would be right", code: 2)
            }
            let store = try await open(configuration.store.configuration())
            let proofs: [DrainProof]
            do {
                proofs = try await DrainProver(configuration, store: store, logger: makeLogger("switchback.proof", level: .critical)).prove(key)
                await store.close()
            } catch {
                await store.close()
                throw error
            }
            let isProven = !proofs.isEmpty && proofs.allSatisfy(\.isProven)
            switch output {
            case .json: try printJSON(proofs, isProven)
            case .table: printTable(proofs, key, isProven)
            }
            if !isProven { throw ExitCode(1) }
        }

        private struct Report: Encodable {
            let proven: Bool
            let partitions: [Line]
            struct Line: Encodable {
                let topic: String
                let partition: Int32
                let owner: String
                let done: String
                let open: Int64?
                let unmirrored: String
                let records: Int64?
                let since: String?
                let sealed: Bool
                /// What is behind an "unknown" or a "differs".
                let why: String?
            }
        }

        private func printJSON(_ proofs: [DrainProof], _ isProven: Bool) throws {
            let lines = proofs.map { proof in
                var done = "all", open: Int64?, unmirrored = "none", records: Int64?, since: String?, why: String?
                switch proof.done {
                case .all: break
                case .open(let count): (done, open) = ("open", count)
                case .unknown(let reason): (done, why) = ("unknown", reason)
                }
                switch proof.unmirrored {
                case .none: break
                case .records(let count): (unmirrored, records) = ("records", count)
                case .unknownSince(let time): (unmirrored, since) = ("unknown", time.map(Self.time))
                case .differs(let reason): (unmirrored, why) = ("differs", why.map { "\($0); \(reason)" } ?? reason)
                }
                return Report.Line(
                    topic: proof.topic, partition: proof.partition, owner: proof.datacenter, done: done, open: open, unmirrored: unmirrored,
                    records: records, since: since, sealed: proof.isSealed, why: why)
            }
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            Console.line(String(decoding: try encoder.encode(Report(proven: isProven, partitions: lines)), as: UTF8.self))
        }

        private func printTable(_ proofs: [DrainProof], _ key: AssignmentKey, _ isProven: Bool) {
            guard !proofs.isEmpty else { return Console.line("\(key): no partition is known: the topics are not there yet, or no worker of that group has reported them") }
            let sheet = Sheet(
                [.init("PARTITION", shrinksTo: 16), .init("OWNER"), .init("IN ITS CLUSTER", shrinksTo: 20), .init("NOT MIRRORED YET", shrinksTo: 20)],
                rows: proofs.map { proof in
                    [
                        .init("\(proof.topic)/\(proof.partition)"), .init(proof.datacenter),
                        .init(Self.words(proof.done) + (proof.isSealed ? ", sealed" : ""), proof.done == .all ? nil : .warning),
                        .init(Self.words(proof.unmirrored), proof.unmirrored == .none ? nil : .warning),
                    ]
                })
            OutputOptions.table.sayTable(sheet)
            let left = proofs.count { !$0.isProven }
            Console.line(isProven ? "\(key): nothing is left to do" : "\(key): \(left) of \(proofs.count) partitions are not proven")
        }

        private static func words(_ done: DrainProof.Done) -> String {
            switch done {
            case .all: "all done"
            case .open(let count): "at most \(count) open"
            case .unknown(let why): "unknown: \(why)"
            }
        }

        private static func words(_ unmirrored: DrainProof.Unmirrored) -> String {
            switch unmirrored {
            case .none: "nothing"
            case .records(let count): "at most \(count)"
            case .unknownSince(let time): time.map { "unknown since \(Self.time($0))" } ?? "unknown"
            case .differs(let why): why
            }
        }

        private static func time(_ milliseconds: Int64) -> String {
            Date(timeIntervalSince1970: Double(milliseconds) / 1000).ISO8601Format()
        }
    }
}
