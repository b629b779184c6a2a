import Checkpoints
import Foundation
import KafkaLog
import Testing

@testable import ChangePropagation

/// The smallest worker.yaml that is right. What a test adds to the rule begins in line 9, indented by four.
let smallestFile = """
    service: purger
    datacenter: eqiad
    datacenters:
      eqiad: {bootstrap: "127.0.0.1:19092"}
      codfw: {bootstrap: "127.0.0.1:29092"}
    store: {sqlite: state/switchback.sqlite}
    rules:
      purge:

    """

/// The smallest file with these lines as its one rule's.
func file(rule: String) -> String {
    smallestFile + rule.split(separator: "\n", omittingEmptySubsequences: false).map { "    \($0)\n" }.joined()
}

/// The one rule of that file.
func rule(_ lines: String) throws -> Rule {
    try #require(try WorkerConfiguration.parse(file(rule: lines), file: "worker.yaml").rules.first)
}

/// What is wrong with a file: one line per problem, as the user sees it. Empty when nothing is.
func problems(_ yaml: String) -> [String] {
    do {
        _ = try WorkerConfiguration.parse(yaml, file: "worker.yaml")
        return []
    } catch {
        return error.problems.map(\.description)
    }
}

func event(_ json: String) throws -> JSONValue { try parseEvent(Array(json.utf8)) }

/// The repository's own folder.
let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

/// Twelve recorded events of Wikimedia's recent changes, as producers sent them.
func recordedEvents() throws -> [JSONValue] {
    let path = repository.appending(path: "Tests/Fixtures/recentchange-recorded.jsonl")
    let lines = try Data(contentsOf: path).split(separator: UInt8(ascii: "\n"))
    return try lines.map { try parseEvent(Array($0)) }
}

func errorOf<T>(_ body: () throws -> T) -> EventError? {
    do {
        _ = try body()
        return nil
    } catch {
        return error as? EventError
    }
}

extension StoreKey: ExpressibleByStringLiteral {
    /// Segments with slashes between.
    public init(stringLiteral text: String) { self.init(segments: text.split(separator: "/").map(String.init)) }
}
