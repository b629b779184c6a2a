import Foundation
import TestSupport
import Testing

@Suite("A worker that is told to end while it starts")
struct WorkerSignalTests {
    @Test("SIGTERM at any moment of the start ends the process: none is lost before its handler is there")
    func terminationAtStart() async throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("worker.yaml")
        let text = """
            service: test
            datacenter: eqiad
            datacenters: {eqiad: {bootstrap: "127.0.0.1:1"}}
            store: {sqlite: store.db}
            rules: {r: {topic: s, action: none}}
            """
        try Data(text.utf8).write(to: file)
        var generator = SeededGenerator.forTest("moments of SIGTERM")
        var processes: [Process] = []
        defer { for process in processes where process.isRunning { kill(process.processIdentifier, SIGKILL) } }
        for _ in 0..<40 {
            let process = Process()
            process.executableURL = URL(filePath: try Executable.switchback())
            process.arguments = ["worker", "--config", file.path]
            process.standardError = FileHandle.nullDevice
            try launch(process)
            processes.append(process)
            try await Task.sleep(for: .milliseconds(Int.random(in: 10...120, using: &generator)))
            kill(process.processIdentifier, SIGTERM)
        }
        try await eventually("all have ended", timeout: .seconds(40)) { processes.allSatisfy { !$0.isRunning } }
        // One that had no handler yet is ended by the signal itself.
        #expect(processes.allSatisfy { $0.terminationReason == .uncaughtSignal ? $0.terminationStatus == SIGTERM : $0.terminationStatus == 0 })
    }
}
