import Foundation
import KafkaLog

/// Makes events out of recorded JSON lines: as they are, or with a fresh id and time each.
public struct EventTemplate: Sendable {
    /// The recorded event.
    public let value: JSONValue
    private let file: String
    private let line: Int

    /// `file` and `line` are named in errors. Throws `ConfigurationError` when `text` is no JSON object.
    public init(_ text: Substring, file: String, line: Int) throws(ConfigurationError) {
        self.file = file
        self.line = line
        do throws(EventError) { value = try parseEvent(Array(text.utf8)) } catch { throw Self.wrong(file, line, "\(error)") }
        guard case .object = value else { throw Self.wrong(file, line, "not a JSON object; one object a line would be right") }
    }

    /// All lines of a file (`-`: standard input) that are not blank; never empty. Throws `ConfigurationError`.
    public static func load(_ path: String) throws(ConfigurationError) -> [EventTemplate] {
        let text: String
        if path == "-" {
            guard let read = try? FileHandle.standardInput.readToEnd(), let decoded = String(data: read, encoding: .utf8) else {
                throw wrong("standard input", 0, "can't be read as UTF-8 text")
            }
            text = decoded
        } else {
            do { text = try String(contentsOfFile: path, encoding: .utf8) } catch {
                throw wrong(path, 0, "can't be read: \(error.localizedDescription)")
            }
        }
        var templates: [EventTemplate] = []
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
        where line.contains(where: { !$0.isWhitespace }) {
            templates.append(try EventTemplate(line, file: path, line: index + 1))
        }
        guard !templates.isEmpty else { throw wrong(path, 0, "holds no event; one JSON object a line would be right") }
        return templates
    }

    private static func wrong(_ file: String, _ line: Int, _ message: String) -> ConfigurationError {
        ConfigurationError(problems: [.init(file: file, line: line, column: 0, message: message)])
    }

    /// One event with its id (nil: it has none).
    ///
    /// - Parameters:
    ///   - fresh: what `meta.id` and `meta.dt` become; nil: they stay.
    ///   - keyField: path of the field whose value is the key; nil, or no such field: a null key.
    ///   - timeField: path of the field that holds the record's time; nil: the producer's clock.
    public func event(fresh: Fresh? = nil, keyField: String? = nil, timeField: String? = nil) throws(ConfigurationError)
        -> (event: OriginProducer.Event, id: String?)
    {
        var value = value
        if let fresh {
            value = value.replacing(["meta", "id"], with: .string(fresh.id))
            value = value.replacing(["meta", "dt"], with: .string(fresh.time.formatted(Self.precise)))
        }
        func field(_ path: String) -> JSONValue? { path.split(separator: ".").reduce(Optional(value)) { $0?[String($1)] } }
        let key: [UInt8]? = keyField.flatMap(field).map { $0.string.map { Array($0.utf8) } ?? $0.jsonBytes }
        var timestamp: MillisecondTimestamp?
        if let timeField {
            guard let time = field(timeField).flatMap(Self.time) else {
                throw Self.wrong(
                    file, line, "no time in field '\(timeField)'; RFC 3339 with a zone, or epoch seconds or milliseconds would be right")
            }
            timestamp = time
        }
        return (OriginProducer.Event(key: key, value: value.jsonBytes, timestamp: timestamp), value["meta"]?["id"]?.string)
    }

    private static let precise = Date.ISO8601FormatStyle(includingFractionalSeconds: true)

    /// The identity of an event that is made from a template.
    public struct Fresh: Sendable {
        public let id: String
        public let time: Date
        public init(id: String, time: Date) {
            self.id = id
            self.time = time
        }
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
