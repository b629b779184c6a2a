/// Comma-separated values as RFC 4180 has them: written with `\n`, read with either line end.
public enum CSV {
    public static func line(_ fields: [String]) -> String { fields.map(quoted).joined(separator: ",") }

    private static func quoted(_ field: String) -> String {
        guard field.utf8.contains(where: { [UInt8(ascii: ","), UInt8(ascii: "\""), UInt8(ascii: "\n"), UInt8(ascii: "\r")].contains($0) }) else { return field }
        return "\"" + field.replacing("\"", with: "\"\"") + "\""
    }

    /// Why a text is no CSV.
    public struct Wrong: Error, Hashable, Sendable, CustomStringConvertible {
        /// From 1.
        public let line: Int
        public let what: String
        public var description: String { "line \(line): \(what)" }
    }

    /// The records of `text`, each with the number of the line that it begins in (from 1). Empty lines are left out.
    public static func records(_ text: String) throws(Wrong) -> [(line: Int, fields: [String])] {
        var records: [(line: Int, fields: [String])] = []
        var fields: [String] = []
        var field: [UInt8] = []
        var isQuoted = false, wasQuoted = false
        var line = 1, began = 1
        let bytes = Array(text.utf8)
        func string(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
        func endRecord() {
            fields.append(string(field))
            if fields != [""] || wasQuoted { records.append((began, fields)) }
            (fields, field, wasQuoted) = ([], [], false)
            began = line + 1
        }
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            index += 1
            if isQuoted {
                if byte == UInt8(ascii: "\n") { line += 1 }
                guard byte == UInt8(ascii: "\"") else {
                    field.append(byte)
                    continue
                }
                if index < bytes.count, bytes[index] == UInt8(ascii: "\"") {
                    field.append(byte)
                    index += 1
                } else {
                    isQuoted = false
                }
                continue
            }
            switch byte {
            case UInt8(ascii: "\"") where field.isEmpty && !wasQuoted: (isQuoted, wasQuoted) = (true, true)
            case UInt8(ascii: "\""): throw Wrong(line: line, what: "a quote in the middle of a field; the whole field in quotes would be right")
            case UInt8(ascii: ","):
                fields.append(string(field))
                (field, wasQuoted) = ([], false)
            case UInt8(ascii: "\n"):
                endRecord()
                line += 1
            case UInt8(ascii: "\r") where index < bytes.count && bytes[index] == UInt8(ascii: "\n"): break
            default: field.append(byte)
            }
        }
        guard !isQuoted else { throw Wrong(line: began, what: "a field in quotes does not end") }
        if !field.isEmpty || !fields.isEmpty || wasQuoted { endRecord() }
        return records
    }
}
