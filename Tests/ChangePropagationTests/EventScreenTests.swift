import TestSupport
import Testing

@testable import ChangePropagation

@Suite("The quick look at events")
struct EventScreenTests {
    private func isUnwanted(_ screen: EventScreen, _ event: String) -> Bool {
        Array(event.utf8).withUnsafeBytes { screen.look($0) { $0?.isUnwanted ?? false } }
    }

    @Test("It never takes a matching event for an unwanted one", arguments: MatchTests.cases)
    func conformance(_ example: MatchTests.Case) throws {
        let rule = try rule("topic: a\n" + example.rule)
        guard let screen = EventScreen([rule], identity: .record) else { return }
        for event in example.matching { #expect(!isUnwanted(screen, event), "\(event)") }
        let told = example.other.filter { isUnwanted(screen, $0) }
        #expect(!told.isEmpty || example.other.allSatisfy { !$0.hasPrefix("{") || $0.contains("[") }, "it tells nothing")
    }

    @Test("Whatever the rules and events: what it calls unwanted matches no rule, and of plain literals it misses nothing")
    func property() throws {
        var random = SeededGenerator.forTest("the quick look")
        var told = 0, unwanted = 0
        for _ in 0..<400 {
            let made = try (0..<Int.random(in: 1...3, using: &random)).map { _ in try rule("topic: a\n" + Self.match(&random)) }
            guard let screen = EventScreen(made, identity: .record) else { continue }
            for _ in 0..<50 {
                let event = Self.object(&random, depth: 0)
                let value = try parseEvent(Array(event.utf8))
                let wanted = try made.contains { try $0.matches(value) }
                let out = isUnwanted(screen, event)
                #expect(!(wanted && out), "\(event)")
                told += out ? 1 : 0
                unwanted += wanted ? 0 : 1
            }
        }
        print("told \(told) of \(unwanted) unwanted events")
        #expect(told > unwanted / 2)
    }

    @Test("What is no JSON, or nests too deep, or is no object, is left to the strict reading")
    func notJSON() throws {
        let screen = try #require(EventScreen([try rule("topic: a\nmatch: {type: edit}")], identity: .record))
        let deep = String(repeating: #"{"a":"#, count: 201) + "1" + String(repeating: "}", count: 201)
        for event in [
            "", "{", "{}x", #"{"type":"edit",}"#, #"{"type":'edit'}"#, "[]", "null", "12", #"{"a":"\u{1}"}"#, #"{"a":"\ud800"}"#, #"{"a":01}"#,
            #"{"a":1e400}"#, deep, #"{"type":"log","type":"edit"}"#,
        ] {
            let isSeen = Array(event.utf8).withUnsafeBytes { screen.look($0) { $0 != nil } }
            #expect(!isSeen, "\(event)")
        }
        let isSeen = Array(#"{"type":"log","a":1,"a":2}"#.utf8).withUnsafeBytes { screen.look($0) { $0?.isUnwanted ?? false } }
        #expect(isSeen, "only of fields that are looked for it matters that they stand there twice")
    }

    @Test("It finds the identity's text, escapes resolved")
    func identity() throws {
        let path = try #require(IdentityPath("meta.id"))
        let screen = try #require(EventScreen([try rule("topic: a\nmatch: {type: edit}")], identity: .json(path)))
        func identity(_ event: String) -> String? {
            Array(event.utf8).withUnsafeBytes { screen.look($0) { sight in sight?.identity.map { String(decoding: $0, as: UTF8.self) } } }
        }
        #expect(identity(#"{"meta":{"id":"a\u00e9b"}}"#) == "a\u{e9}b")
        #expect(identity(#"{"meta":{"id":7}}"#) == nil)
        #expect(identity(#"{"meta":"id"}"#) == nil)
    }

    private static let names = ["a", "b", "meta", "t\u{e9}xt"]
    private static let scalars = ["1", "1.0", "2", "true", "false", "null", "edit", "'1'", "''", "18446744073709551615"]

    private static func match(_ random: inout SeededGenerator) -> String {
        var lines: [String] = []
        if random.chance(0.9) { lines.append("match: \(matcher(&random, depth: 0))") }
        if random.chance(0.5) || lines.isEmpty { lines.append("match_not: \(matcher(&random, depth: 0))") }
        return lines.joined(separator: "\n")
    }

    private static func matcher(_ random: inout SeededGenerator, depth: Int) -> String {
        let fields = names.shuffled(using: &random).prefix(Int.random(in: 1...2, using: &random)).map { name in
            switch Int.random(in: 0...9, using: &random) {
            case 0: "\(name): 'undefined'"
            case 1: "\(name): '/^e/'"
            case 2: "\(name): [edit]"
            case 3, 4: "\(name): \(depth < 2 ? matcher(&random, depth: depth + 1) : "1")"
            default: "\(name): \(scalars.randomElement(using: &random) ?? "1")"
            }
        }
        return "{\(fields.joined(separator: ", "))}"
    }

    private static func object(_ random: inout SeededGenerator, depth: Int) -> String {
        let fields = (0..<Int.random(in: 0...4, using: &random)).map { _ in
            #""\#(names.randomElement(using: &random) ?? "a")":\#(value(&random, depth: depth))"#
        }
        return "{\(fields.joined(separator: ","))}"
    }

    private static func value(_ random: inout SeededGenerator, depth: Int) -> String {
        switch Int.random(in: 0...9, using: &random) {
        case 0, 1, 2: depth < 3 ? object(&random, depth: depth + 1) : "{}"
        case 3: #"["edit",1]"#
        default: ["1", "1.0", "2", "true", "false", "null", #""edit""#, #""\u0065dit""#, #""1""#, "\"\"", "18446744073709551615", "1e2"].randomElement(using: &random) ?? "1"
        }
    }
}
