import ChangePropagation
import Foundation
import KafkaLog

/// Makes events out of recorded JSON lines: as they are, or with a fresh id and time each.
struct EventTemplate: Sendable {
    private let value: JSONValue
    private let line: Int

    /// Throws one line that names file and line when `text` is no JSON object.
    init(_ text: Substring, file: String, line: Int) throws {
        do { value = try parseEvent(Array(text.utf8)) } catch { throw Failure("\(file):\(line): \(error)", code: 2) }
        guard case .object = value else { throw Failure("\(file):\(line): not a JSON object; one object a line would be right", code: 2) }
        self.line = line
    }

    /// All lines of a file that are not blank.
    static func load(_ path: String) throws -> [EventTemplate] {
        let text: String
        do { text = try String(contentsOfFile: path == "-" ? "/dev/stdin" : path, encoding: .utf8) } catch {
            throw Failure("\(path) can't be read: \(error.localizedDescription)", code: 2)
        }
        var templates: [EventTemplate] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
        where line.contains(where: { !$0.isWhitespace }) {
            templates.append(try EventTemplate(line, file: path, line: index + 1))
        }
        guard !templates.isEmpty else { throw Failure("\(path) holds no event", code: 2) }
        return templates
    }

    /// One event with its id (nil: it has none).
    func event(fresh: Fresh?, keyField: String?, timeField: String?, file: String) throws -> (event: OriginProducer.Event, id: String?) {
        var value = value
        if let fresh {
            value = value.replacing(["meta", "id"], with: .string(fresh.id))
            value = value.replacing(["meta", "dt"], with: .string(fresh.time.formatted(Self.precise)))
        }
        func field(_ path: String) -> JSONValue? { path.split(separator: ".").reduce(Optional(value)) { $0?[String($1)] } }
        let key: [UInt8]? = keyField.flatMap(field).map { $0.string.map { Array($0.utf8) } ?? $0.jsonBytes }
        var timestamp: MillisecondTimestamp?
        if let timeField {
            timestamp = try field(timeField).flatMap(Self.time)
                ?? { throw Failure("\(file):\(line): no time in field '\(timeField)'; RFC 3339 with a zone, or epoch seconds or milliseconds would be right", code: 2) }()
        }
        return (OriginProducer.Event(key: key, value: value.jsonBytes, timestamp: timestamp), value["meta"]?["id"]?.string)
    }

    private static let precise = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    struct Fresh {
        let id: String
        let time: Date
    }

    /// RFC 3339 with a zone; numbers below 10^11 are seconds, others milliseconds.
    static func time(_ value: JSONValue) -> MillisecondTimestamp? {
        switch value {
        case .integer(let number): MillisecondTimestamp(number.magnitude < 100_000_000_000 ? number &* 1000 : number)
        case .string(let text):
            ((try? Date(text, strategy: .iso8601)) ?? (try? Date(text, strategy: precise)))
                .flatMap { MillisecondTimestamp(Int64(($0.timeIntervalSince1970 * 1000).rounded())) }
        default: nil
        }
    }
}

extension JSONValue {
    /// With the field at `path` set, made where it is missing.
    func replacing(_ path: [String], with new: JSONValue) -> JSONValue {
        guard let name = path.first else { return new }
        var fields: [JSONObject.Field] = []
        if case .object(let object) = self { fields = object.fields }
        let inner = (self[name] ?? .object(JSONObject(fields: []))).replacing(Array(path.dropFirst()), with: new)
        if let index = fields.firstIndex(where: { $0.name == name }) { fields[index] = .init(name, inner) } else { fields.append(.init(name, inner)) }
        return .object(JSONObject(fields: fields))
    }
}
