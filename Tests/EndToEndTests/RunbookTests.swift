import Demo
import Foundation
import KafkaLog
import TestSupport
import Testing

/// Runs every command of Docs/Runbook.md, in its order, in two datacenters. What a section presupposes stands in the page itself, in comments that
/// readers don't see: `test: kill eqiad`, `test: expect 1` (the exit status of the commands that follow in the next fence), and the like.
@Suite("The runbook", .serialized)
struct RunbookTests {
    enum Step: Equatable {
        case command(String, line: Int, status: Int32)
        case stage(String, line: Int)
    }

    static func steps(_ text: String) -> [Step] {
        var steps: [Step] = []
        var isInside = false, status: Int32 = 0, isSkipped = false
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated() {
            let number = index + 1
            if line.hasPrefix("```") {
                isInside = line == "```sh"
                if !isInside { (status, isSkipped) = (0, false) }
            } else if isInside {
                if !isSkipped { steps.append(.command(String(line), line: number, status: status)) }
            } else if line.hasPrefix("<!-- test: "), let end = line.range(of: " -->") {
                let what = String(line[line.index(line.startIndex, offsetBy: 11)..<end.lowerBound])
                if what.hasPrefix("expect "), let wanted = Int32(what.dropFirst(7)) { status = wanted } else if what.hasPrefix("skip") {
                    isSkipped = true
                } else { steps.append(.stage(what, line: number)) }
            }
        }
        return steps
    }

    private func stage(_ what: String, _ sites: TwoSites, _ etcd: EtcdServer, _ killed: inout Int?) async throws {
        switch what {
        case "kill eqiad": for part in [TwoSites.Part.producer, .worker(TwoSites.home), .mirror(TwoSites.home), .broker(TwoSites.home)] { sites.kill(part) }
        case "start eqiad":
            try await sites.startBroker(TwoSites.home)
            for part in [TwoSites.Part.mirror(TwoSites.home), .worker(TwoSites.home), .producer] { try sites.start(part) }
            let calls = sites.callCount
            try await sites.waitFor("codfw to act on what eqiad's producers write") { sites.callCount > calls + 20 }
        case "kill store leader":
            let leader = try await etcd.leader()
            killed = leader
            etcd.kill(leader)
        case "start store":
            guard let leader = killed else { return }
            try await etcd.restart(leader)
        case "freeze mirror":
            sites.freeze(.mirror(TwoSites.away))
            // Every partition's seal has to lie past what is mirrored, however slowly the machine acts just now.
            let (mirrored, from) = (try Set(sites.produced()), sites.callCount)
            try await sites.waitFor("eqiad to act on what is not mirrored") {
                Set(sites.calls(from: from).map(\.id)).subtracting(mirrored).count >= 80
            }
        case "thaw mirror": sites.thaw(.mirror(TwoSites.away))
        default: Issue.record("the runbook asks for '\(what)', which this test can't do")
        }
    }

    @Test("Each command does what the page says, with the exit status that it says")
    func everyCommand() async throws {
        let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().appending(path: "Docs/Runbook.md")
        let steps = Self.steps(try String(contentsOf: page, encoding: .utf8))
        #expect(steps.count { if case .command = $0 { true } else { false } } >= 15)
        try await Stage.run("runbook", members: 3, { $0.rate = 40 }) { sites, etcd in
            var killed: Int?
            let binaries = URL(fileURLWithPath: try Executable.switchback()).deletingLastPathComponent().path
            let place = sites.settings.directory.appending(path: TwoSites.home.name).path
            let endpoints = etcd.ports.map { "http://127.0.0.1:\($0)" }.joined(separator: ",")
            for step in steps {
                try sites.check()
                switch step {
                case .stage(let what, _): try await stage(what, sites, etcd, &killed)
                case .command(let command, let line, let status):
                    let script = "cd '\(place)' && export PATH='\(binaries)':\"$PATH\" ETCDCTL_API=3 ETCDCTL_ENDPOINTS=\(endpoints) && \(command)"
                    let began = ContinuousClock.now
                    let output = try await ChildProcess.run("/bin/sh", ["-c", script], deadline: .seconds(180))
                    print(String(format: "  %5.1f s  status %d  Runbook.md:%d", began.duration(to: .now) / .seconds(1), output.status, line))
                    #expect(output.status == status, "Runbook.md:\(line): \(command)\n\(output.output.suffix(1500))\(output.errors.suffix(1500))")
                }
            }
            #expect(try await sites.gaps() == 0)
            #expect(try await sites.assignment()?.owner == TwoSites.home, "the page leaves everything at home")
        }
    }

    @Test("Fences, statuses and what is skipped are read as they are meant")
    func reading() {
        let text = "a\n```sh\none\n```\n<!-- test: expect 1 -->\n```sh\ntwo\n```\n<!-- test: kill x -->\n<!-- test: skip, why -->\n```sh\nthree\n```\n```yaml\nno\n```\n```sh\nfour\n```"
        #expect(
            Self.steps(text) == [
                .command("one", line: 3, status: 0), .command("two", line: 7, status: 1), .stage("kill x", line: 9), .command("four", line: 18, status: 0),
            ])
    }
}
