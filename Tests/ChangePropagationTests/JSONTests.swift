import Foundation
import Testing

@testable import ChangePropagation

@Suite struct JSONTests {
    @Test(arguments: [
        ("null", JSONValue.null), ("true", true), (" [1, 2.5 ,\"a\"]\n", [1, 2.5, "a"]), ("{}", [:]),
        ("9223372036854775807", 9_223_372_036_854_775_807), ("-9223372036854775808", -9_223_372_036_854_775_808),
        ("9223372036854775808", JSONValue.number("9223372036854775808")), ("1e400", JSONValue.number("1e400")), ("-0", 0), ("1e2", 100),
        (#""a\"\\\/\b\f\n\r\té😀""#, "a\"\\/\u{8}\u{c}\n\r\té😀"), (#""\u00e9\uD83D\uDE00\u0000""#, "é😀\u{0}"),
        (#"{"a":1,"b":{"c":[]},"a":2}"#, ["b": ["c": []], "a": 2]),
    ] as [(String, JSONValue)])
    func parses(_ json: String, _ expected: JSONValue) throws { #expect(try event(json) == expected) }

    @Test(arguments: [
        ("", "it is empty", 0), ("{", "it ends too early", 1), ("[1,]", "a value was expected", 3), (#"{"a" 1}"#, "\":\" was expected", 5),
        ("{'a':1}", "a field's name was expected", 1), ("01", "there is something after the end of the value", 1), ("1.", "a digit was expected", 2),
        ("-", "a digit was expected", 1), ("nul", "a value was expected", 0), ("NaN", "a value was expected", 0), (#""a"#, "it ends too early", 2),
        ("\"a\nb\"", "a control character stands in a string", 2), (#""\x""#, "an unknown escape stands in a string", 3),
        (#""\ud800""#, "half of a surrogate pair stands alone", 7), (#""\udc00\ud800""#, "half of a surrogate pair stands alone", 7),
        (#""\u12g4""#, "four hex digits were expected", 5), ("{} {}", "there is something after the end of the value", 3),
        ("[1 2]", "\",\" or \"]\" was expected", 3), ("\u{FEFF}{}", "a value was expected", 0),
    ])
    func refuses(_ json: String, _ reason: String, _ byte: Int) throws {
        #expect(throws: EventError(.notJSON(reason: reason, byte: byte))) { try event(json) }
    }

    @Test func bytesThatAreNotUTF8AreAnErrorNotAReplacement() {
        #expect(throws: EventError.self) { try parseEvent([0x22, 0xFF, 0x22]) }
        #expect(throws: EventError.self) { try parseEvent([0x22, 0x5C, 0x6E, 0xC3, 0x22]) }
    }

    @Test func nestingIsBounded() throws {
        let deepest = String(repeating: "[", count: maximumEventDepth) + String(repeating: "]", count: maximumEventDepth)
        _ = try event(deepest)
        #expect(throws: EventError.self) { try event("[" + deepest + "]") }
        #expect(throws: EventError.self) { try event(String(repeating: "{\"a\":", count: 100_000)) }
    }

    @Test func aHostileNumberOfFieldsIsReadInLinearTime() throws {
        let json = "{" + (0..<50_000).map { "\"f\($0 % 40_000)\":\($0)" }.joined(separator: ",") + "}"
        let clock = ContinuousClock()
        let start = clock.now
        let value = try event(json)
        #expect(clock.now - start < .seconds(30))
        #expect(value["f39999"] == 39_999 && value["f0"] == 40_000)
    }

    @Test func writtenJSONReadsBackTheSame() throws {
        for event in try recordedEvents() { #expect(try parseEvent(event.jsonBytes) == event) }
        let odd: JSONValue = ["q\"\\\n\u{1}é😀": [1, 2.5, -0.0, 1e300, .number("123456789012345678901234567890"), nil, true], "": ""]
        #expect(try parseEvent(odd.jsonBytes) == odd)
        #expect(odd.jsonText == #"{"q\"\\\n\u0001é😀":[1,2.5,0,1e+300,123456789012345678901234567890,null,true],"":""}"#)
    }

    @Test func textsAreEqualByTheirBytesOnly() {
        #expect(JSONValue.string("\u{e9}") != .string("e\u{301}"))
        #expect(JSONValue.string("\u{e9}") == .string("é"))
        let object: JSONValue = ["\u{e9}": 1]
        #expect(object["e\u{301}"] == nil)
    }

    /// Accepting and refusing is checked against Foundation's parser, over damaged real events. No exponents are put in:
    /// Foundation refuses 1e400, which is JSON, and takes a comma before a closing bracket, which is not.
    @Test func damagedEventsAreJudgedAsFoundationJudgesThem() throws {
        let seed = UInt64.random(in: 0 ... .max)
        var random = SplitMix(state: seed)
        let lines = try recordedEvents().map(\.jsonBytes)
        var refused = 0
        for round in 0..<3000 {
            var bytes = lines[round % lines.count]
            bytes = Array(bytes.prefix(400)) + Array(bytes.suffix(1))
            let scraps = Array("{}[]\",:\\u0+-.19tn \n".utf8)
            bytes[Int.random(in: 0..<bytes.count, using: &random)] = scraps.randomElement(using: &random) ?? 0
            let ours = (try? parseEvent(bytes)) != nil
            let theirs = (try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)) != nil
            if !ours { refused += 1 }
            let packed = bytes.filter { $0 != 0x20 && $0 != 0x0A }
            if !ours, theirs, packed.firstRange(of: Array(",}".utf8)) != nil || packed.firstRange(of: Array(",]".utf8)) != nil { continue }
            #expect(ours == theirs, "seed \(seed): \(String(decoding: bytes, as: UTF8.self))")
        }
        #expect(refused > 0)
    }
}
