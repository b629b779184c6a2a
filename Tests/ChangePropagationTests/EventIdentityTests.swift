import Testing

@testable import ChangePropagation

@Suite struct EventIdentityTests {
    private func identity(_ text: String) throws -> EventIdentity {
        try WorkerConfiguration.parse(smallestFile + "    topic: a\nidentity: \(text)\n", file: "worker.yaml").identity
    }

    private func text(_ identity: EventIdentity, _ json: String?, headers: [String: String] = [:]) throws -> String? {
        let event = try json.map(event)
        return identity.bytes(event: event, header: { headers[$0].map { Array($0.utf8) } }).map { String(decoding: $0, as: UTF8.self) }
    }

    @Test(arguments: [
        (#"{"meta":{"id":"x-1"}}"#, "x-1"), (#"{"meta":{"id":12345678901234567890}}"#, "12345678901234567890"), (#"{"meta":{"id":7}}"#, "7"),
        (#"{"meta":{"id":""}}"#, nil), (#"{"meta":{"id":null}}"#, nil), (#"{"meta":{"id":{"a":1}}}"#, nil), (#"{"meta":{"id":["a"]}}"#, nil),
        (#"{"meta":{}}"#, nil), ("[]", nil), (nil, nil),
    ] as [(String?, String?)])
    func ofAField(_ json: String?, _ expected: String?) throws { #expect(try text(try identity("json:meta.id"), json) == expected) }

    @Test func ofOddPaths() throws {
        #expect(try text(try identity("\"json:ids[1]['a b']\""), #"{"ids":[0,{"a b":"y"}]}"#) == "y")
        for path in ["", ".a", "a.", "a b", "a[x]", "a[1"] { #expect(IdentityPath(path) == nil, "\(path)") }
    }

    @Test func ofAHeader() throws {
        let identity = try identity("header:event-id")
        #expect(try text(identity, nil, headers: ["event-id": "h"]) == "h")
        #expect(try text(identity, nil, headers: ["event-id": ""]) == nil)
        #expect(try text(identity, nil) == nil)
    }

    @Test func aWholeRecordHasNoIdOfItsOwn() throws { #expect(try text(try identity("record"), #"{"meta":{"id":"x"}}"#) == nil) }

    @Test func recordedEventsHaveIdsOfTheirOwn() throws {
        let identity = try identity("json:meta.id")
        let ids = try recordedEvents().map { event in identity.bytes(event: event, header: { _ in nil }) }
        #expect(ids.allSatisfy { $0 != nil } && Set(ids.map { $0 ?? [] }).count == 12)
    }
}
