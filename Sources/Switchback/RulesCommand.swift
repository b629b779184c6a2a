import ArgumentParser
import ChangePropagation
import Foundation
import KafkaLog
import TextTable

/// `switchback rules`: check a file of rules, and try it on an event, without a cluster or a store.
struct RulesCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rules",
        abstract: "Check rules, and try them on an event.",
        discussion: """
            Example:
              switchback rules check worker.yaml
              switchback rules test worker.yaml --event event.json
            """,
        subcommands: [Check.self, Test.self])

    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check a worker.yaml, or a service file of change-propagation, and say what its rules do.",
            discussion: """
                Exit status 2 with one line per mistake when it is wrong. What is allowed and likely not meant, and what has no counterpart
                here, is a warning on standard error.

                Example:
                  switchback rules check worker.yaml
                """)
        @Argument(help: ArgumentHelp("The worker's configuration.", valueName: "file")) var file: String

        private struct Row {
            let rule: String
            let reads: String
            let does: String
            let retries: String
            let group: String
        }

        func run() throws {
            let configuration = try WorkerConfiguration.load(path: file, for: .rules)
            for warning in configuration.warnings { Console.note(warning.description) }
            let rows = configuration.rules.map { rule in
                let cases = rule.requestCounts
                let requests = cases.map { $0 == 0 ? "nothing" : $0 == 1 ? "1 request" : "\($0) requests" }.joined(separator: " / ")
                return Row(
                    rule: rule.name, reads: (rule.topics.map(\.topic) + rule.selection.patterns).joined(separator: " "),
                    does: (cases.count > 1 ? "\(cases.count) cases: " : "") + requests,
                    retries: "\(rule.retry.limit == 0 ? "none" : String(rule.retry.limit)), then \(rule.onFailure.rawValue)", group: rule.group)
            }
            let table = TextTable<Row> {
                [
                    Column("RULE" <- $0.rule), Column("READS" <- $0.reads), Column("DOES" <- $0.does), Column("RETRIES" <- $0.retries),
                    Column("GROUP" <- $0.group),
                ]
            }
            table.print(rows, style: Style.plain)
            let warnings = configuration.warnings.count
            let more = warnings == 0 ? "" : ", \(warnings) \(warnings == 1 ? "warning" : "warnings")"
            Console.line("\(file): good (\(rows.count) \(rows.count == 1 ? "rule" : "rules")\(more))")
        }
    }

    struct Test: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show which rules and cases match an event, what they capture, and the exact requests they would send.",
            discussion: """
                Sends nothing. Exit status 1 when a rule matches and can't be finished (a field that a template needs is missing).

                Example:
                  switchback rules test worker.yaml --event event.json
                  switchback rules test worker.yaml --event event.json \\
                      --stream mediawiki.recentchange --output json
                """)

        enum Output: String, ExpressibleByArgument, CaseIterable { case text, json }

        @Argument(help: ArgumentHelp("The worker's configuration.", valueName: "file")) var file: String
        @Option(help: ArgumentHelp("A file with one event in JSON; - is standard input.", valueName: "file")) var event: String
        @Option(help: ArgumentHelp("Only rules that read this stream (without a datacenter before it).", valueName: "stream")) var stream: String?
        @Option(help: "text or json.") var output = Output.text

        /// The largest event that is read.
        private static let eventLimit = 64 << 20

        func run() throws {
            let configuration = try WorkerConfiguration.load(path: file, for: .rules)
            let parsed = try readEvent()
            let rules = configuration.rules.filter { rule in stream.map { rule.selection.contains($0) } ?? true }
            guard !rules.isEmpty else {
                let known = Set(configuration.rules.flatMap { $0.streams + $0.selection.patterns }).sorted().joined(separator: ", ")
                throw Failure("--stream \(stream ?? ""): no rule of \(file) reads it; they read \(known)", code: 2)
            }
            let trials = rules.map { $0.trial(parsed) }
            switch output {
            case .text: for trial in trials { show(trial, configuration.datacenter) }
            case .json: Console.line(JSONValue.array(trials.map { json($0, configuration.datacenter) }).jsonText)
            }
            if trials.contains(where: { $0.error != nil }) { throw ExitCode(1) }
        }

        private func readEvent() throws -> JSONValue {
            let data: Data
            if event == "-" { data = try FileHandle.standardInput.read(upToCount: Self.eventLimit) ?? Data() } else {
                guard let found = FileManager.default.contents(atPath: event) else { throw Failure("--event \(event): there is no such file", code: 2) }
                data = found
            }
            do { return try parseEvent(Array(data)) } catch { throw Failure("--event \(event): \(error)", code: 2) }
        }

        private func show(_ trial: RuleTrial, _ datacenter: Datacenter) {
            guard let number = trial.matchingCase else {
                return Console.line("\(trial.rule): \(trial.error.map { "can't be judged: \($0)" } ?? "does not match")")
            }
            Console.line("\(trial.rule): matches\(trial.cases > 1 ? ", case \(number) of \(trial.cases)" : "")")
            if let captures = trial.captures { Console.line("  captures \(captures.jsonText)") }
            if let error = trial.error { return Console.line("  can't be finished: \(error)") }
            if let reason = trial.leftOut { return Console.line("  is left out: \(reason)") }
            if trial.requests.isEmpty { Console.line("  does nothing") }
            for request in trial.requests { show(request, datacenter) }
        }

        private func show(_ request: ActionRequest, _ datacenter: Datacenter) {
            switch request.target {
            case .http:
                Console.line("  \(request.method) \(request.url)")
                for header in Self.headers(request) { Console.line("    \(header.name): \(header.value)") }
                if let body = request.body { Console.line("    \(String(decoding: body, as: UTF8.self))") }
            case .produce(let events):
                for event in events {
                    let place = event.partition.map { " partition \($0)" } ?? ""
                    let key = event.key.map { " key \(String(decoding: $0, as: UTF8.self))" } ?? ""
                    Console.line("  produce to \(OriginTopic(origin: datacenter, stream: event.stream))\(place)\(key)\n    \(event.value.jsonText)")
                }
            case .purge(let urls, let service): for url in urls { Console.line("  purge \(url) (HTCP to \(service.host):\(service.port))") }
            case .log(let file, let line): Console.line("  log to \(file)\n    \(String(decoding: line, as: UTF8.self))")
            }
        }

        /// With those that are added when it is sent.
        private static func headers(_ request: ActionRequest) -> [ActionRequest.Header] {
            let agent = ActionRequest.Header("user-agent", HTTPAction.userAgent(Worker.version))
            return request.headers.contains { $0.name == "user-agent" } ? request.headers : request.headers + [agent]
        }

        private func json(_ trial: RuleTrial, _ datacenter: Datacenter) -> JSONValue {
            [
                "rule": .string(trial.rule), "matches": .bool(trial.matchingCase != nil),
                "case": trial.matchingCase.map { .integer(Int64($0)) } ?? .null, "captures": trial.captures ?? .null,
                "left_out": trial.leftOut.map { .string("\($0)") } ?? .null, "error": trial.error.map { .string("\($0)") } ?? .null,
                "requests": .array(trial.requests.map { json($0, datacenter) }),
            ]
        }

        private func json(_ request: ActionRequest, _ datacenter: Datacenter) -> JSONValue {
            switch request.target {
            case .http:
                [
                    "method": .string(request.method), "url": .string(request.url),
                    "headers": .object(JSONObject(fields: Self.headers(request).map { JSONObject.Field($0.name, .string($0.value)) })),
                    "body": request.body.map { .string(String(decoding: $0, as: UTF8.self)) } ?? .null,
                ]
            case .produce(let events):
                [
                    "produce": .array(
                        events.map { event in
                            [
                                "topic": .string(OriginTopic(origin: datacenter, stream: event.stream).topic),
                                "partition": event.partition.map { .integer(Int64($0)) } ?? .null,
                                "key": event.key.map { .string(String(decoding: $0, as: UTF8.self)) } ?? .null, "event": event.value,
                            ]
                        })
                ]
            case .purge(let urls, let service): ["purge": .array(urls.map(JSONValue.string)), "to": .string("\(service.host):\(service.port)")]
            case .log(let file, let line): ["log": .string(file), "line": .string(String(decoding: line, as: UTF8.self))]
            }
        }
    }
}
