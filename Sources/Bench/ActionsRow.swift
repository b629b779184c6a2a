import ArgumentParser
import CBaseline
import ChangePropagation
import Foundation
import Hummingbird
import Logging
import NIOPosix

/// Row (c): HTTP actions of a whole worker against a local sink, at concurrency 250, against what `wrk` gets from the same sink with as many
/// connections.
struct ActionsRow {
    /// The worker's requests per second must be at least this part of wrk's.
    static let floor = 0.5
    static let concurrency = 250
    private static let topic = "eqiad.mediawiki.recentchange"

    let servers: String
    let sink: ServingProcess
    let directory: URL
    let events: Int64
    let partitions: Int32
    let recorded: RecordedEvents

    struct Failure: Error, CustomStringConvertible { let description: String }

    func fill() async throws {
        Figures.note("writing \(events) events of \(recorded.size) bytes")
        try await recorded.write(events, to: Self.topic, partitions: partitions, servers: servers, wantedEvery: 1)
    }

    /// Both sides in turn, after one run of each that warms everything up.
    func measure(runs: Int) async throws -> RowResult {
        var wrk: [Double] = [], curl: [Double] = [], curlCPU: [Double] = [], ours: [Double] = [], cpu: [Double] = []
        // What the sink itself takes for a request, by who sends them.
        var sinkCPU: [[Double]] = [[], [], []]
        for run in 0...runs {
            Figures.note(run == 0 ? "warming up" : "run \(run) of \(runs)")
            let begin = try sinkSeconds()
            let peer = try runWrk()
            let afterWrk = try sinkSeconds()
            let idle = Figures.cpuSeconds()
            let library = Double(events) / (try runCurl())
            let afterCurl = try sinkSeconds()
            let libraryCPU = (Figures.cpuSeconds() - idle) / Double(events) * 1e6
            let path = directory.appending(path: "store-\(run).db").path
            let yaml = Self.configuration(servers, path, "bench-\(run)", sink.address)
            let before = Figures.cpuSeconds()
            let rate = Double(events) / (try await WorkerRun(yaml: yaml, store: path, group: "bench-\(run)", events: events).seconds())
            if run > 0 {
                wrk.append(peer.rate)
                for (side, seconds, requests) in [
                    (0, afterWrk - begin, peer.requests), (1, afterCurl - afterWrk, Double(events)), (2, try sinkSeconds() - afterCurl, Double(events)),
                ] { sinkCPU[side].append(seconds / requests * 1e6) }
                curl.append(library)
                curlCPU.append(libraryCPU)
                ours.append(rate)
                cpu.append((Figures.cpuSeconds() - before) / Double(events) * 1e6)
            }
        }
        let rates = (wrk: Figures.median(wrk), curl: Figures.median(curl), worker: Figures.median(ours))
        return RowResult(
            row: "d", name: "actions", load: "\(events) events, a POST with a body for each, \(Self.concurrency) at once, median of \(runs)",
            sides: [
                .init(name: "wrk", rate: rates.wrk), .init(name: "C, libcurl, requests only", rate: rates.curl, cpu: Figures.median(curlCPU)),
                .init(name: "worker", rate: rates.worker, cpu: Figures.median(cpu)),
            ],
            goals: [
                .init(what: "worker to wrk, requests per second", value: rates.worker / rates.wrk, atLeast: Self.floor),
                .init(what: "worker to C loop over libcurl, requests per second", value: rates.worker / rates.curl),
            ] + zip(["wrk", "C", "the worker"], sinkCPU).map { .init(what: "the sink, CPU for a request of \($0)", value: Figures.median($1), unit: " us") })
    }

    private func sinkSeconds() throws -> Double {
        guard let seconds = sink.meter.cpuSeconds else { throw Failure(description: "the sink's CPU time can't be read") }
        return seconds
    }

    /// Seconds that a C loop over the library that the worker uses takes for as many requests.
    private func runCurl() throws -> Double {
        var seconds = 0.0
        var error = [CChar](repeating: 0, count: 256)
        let outcome = cbaseline_requests("http://\(sink.address)\(Self.path)", Self.body, events, Int32(Self.concurrency), &seconds, &error, error.count)
        guard outcome == 0 else { throw Failure(description: "the C loop over libcurl: \(CCall.text(error))") }
        return seconds
    }

    private static let path = "/act/01592c7a-03f1-46cd-9472-000000000001", body = #"{"id":"01592c7a-03f1-46cd-9472-000000000001"}"#

    private func runWrk() throws -> (rate: Double, requests: Double) {
        let script = directory.appending(path: "post.lua")
        try """
            wrk.method = "POST"
            wrk.body = '\(Self.body)'
            wrk.headers["content-type"] = "application/json"
            """.write(to: script, atomically: true, encoding: .utf8)
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [
            "wrk", "-t", "2", "-c", "\(Self.concurrency)", "-d", "4s", "-s", script.path, "http://\(sink.address)\(Self.path)",
        ]
        let output = Pipe()
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0, let match = text.firstMatch(of: /([0-9]+) requests in .*Requests\/sec:\s+([0-9.]+)/.dotMatchesNewlines()),
            let requests = Double(match.1), let rate = Double(match.2)
        else {
            throw Failure(description: "wrk is not there or gave no rate; install it ('apt-get install wrk'): \(text)")
        }
        return (rate, requests)
    }

    private static func configuration(_ servers: String, _ store: String, _ group: String, _ sink: String) -> String {
        """
        service: bench
        datacenter: eqiad
        datacenters: {eqiad: {bootstrap: "\(servers)"}}
        store: {sqlite: '\(store)'}
        identity: json:meta.id
        checkpoints: {interval: 100ms, max_beyond: 4096}
        rules:
          act:
            topic: mediawiki.recentchange
            group: \(group)
            concurrency: \(concurrency)
            match: {type: bench}
            exec: {uri: 'http://\(sink)/act/{message.meta.id}', body: {id: '{{message.meta.id}}'}}
        """
    }
}

/// `Bench actions`.
struct ActionsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "actions", abstract: "Measures a worker's HTTP actions against wrk, both on the same sink.")

    @Option(help: "Events that one run acts on (at least 1000).") var events: Int64 = 100_000
    @Option(help: "Partitions (at least 1).") var partitions: Int32 = 6
    @Option(help: "Recorded events, one a line.") var templates = "Tests/Fixtures/recentchange-recorded.jsonl"
    @OptionGroup var options: RowOptions

    func validate() throws {
        guard events >= 1_000, partitions > 0 else { throw ValidationError("events must be at least 1000, partitions at least 1") }
    }

    func run() async throws {
        let recorded = try RecordedEvents(file: templates)
        let directory = FileManager.default.temporaryDirectory.appending(path: "switchback-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let broker = try BrokerProcess.start()
        defer { broker.stop() }
        let sink = try ServingProcess.start("sink", ["sink"])
        defer { sink.stop() }
        let row = ActionsRow(
            servers: broker.servers, sink: sink, directory: directory, events: events, partitions: partitions, recorded: recorded)
        try await row.fill()
        try options.finish(try await row.measure(runs: options.runs))
    }
}

/// A service that takes events and says yes, in a process of its own. It has one event loop, as one instance of a service has: with one for each core
/// it would be the scheduler that says what `wrk` gets where cores are few, and the number of cores where they are many.
struct SinkCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "sink", shouldDisplay: false)

    func run() async throws {
        let router = Router()
        router.post("/act/:id") { request, _ -> HTTPResponse.Status in
            _ = try await request.body.collect(upTo: 1 << 20)
            return .noContent
        }
        var logger = Logger(label: "bench.sink")
        logger.logLevel = .critical
        let (ports, continuation) = AsyncStream<Int>.makeStream()
        let application = Application(
            router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
            onServerRunning: { channel in
                continuation.yield(channel.localAddress?.port ?? 0)
                continuation.finish()
            }, eventLoopGroupProvider: .shared(MultiThreadedEventLoopGroup(numberOfThreads: 1)), logger: logger)
        let server = Task { [logger] in try await GracefulServer.run(application, logger: logger) }
        for await port in ports { await ServingProcess.announce("127.0.0.1:\(port)") }
        server.cancel()
        _ = await server.result
    }
}
