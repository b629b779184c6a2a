import Foundation
import TestSupport
import Testing

@testable import Drill

@Suite("The drill command's help")
struct DrillHelpTests {
    /// The example lines of a command's help.
    private func examples(_ arguments: [String]) async throws -> [String] {
        let output = try await DrillStage.drill(arguments + ["--help"], deadline: .seconds(30))
        #expect(output.status == 0)
        let lines = output.output.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }
        guard let first = lines.firstIndex(of: "Example:") else { return [] }
        return Array(lines[(first + 1)...].prefix { $0.hasPrefix("switchback ") })
    }

    @Test("Every command has an example", arguments: ["", "run", "resume", "abort", "report", "scenarios"])
    func each(_ verb: String) async throws {
        let found = try await examples(verb.isEmpty ? [] : [verb])
        #expect(!found.isEmpty && found.allSatisfy { $0.hasPrefix("switchback drill") })
    }

    @Test("Options of every example are known: pasted with a wrong plan or scenario at the end, only that is refused")
    func options() async throws {
        for line in try await examples(["run"]) {
            // The last of two options of one name counts; what is refused then is the scenario, after all options were read.
            var words = line.split(separator: " ").dropFirst(2).map(String.init)
            if let place = words.firstIndex(of: "--plan") { words.removeSubrange(place...(place + 1)) }
            if let place = words.firstIndex(of: "--scenario") { words.removeSubrange(place...(place + 1)) }
            let output = try await DrillStage.drill(words + ["--scenario", "fire"], deadline: .seconds(30))
            #expect(output.status == 2 && output.errors.contains("--scenario fire"), "\(line): \(output.errors)")
        }
    }

    @Test("The shortest example works as pasted")
    func scenarios() async throws {
        let output = try await DrillStage.drill(["scenarios"], deadline: .seconds(30))
        #expect(output.status == 0 && DrillScenario.allCases.allSatisfy { output.output.contains($0.rawValue) })
    }
}
