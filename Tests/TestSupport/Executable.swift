import Foundation

/// The `switchback` executable that was built beside these tests.
public enum Executable {
    /// Throws `TestTimeout` when it is not there.
    public static func switchback() throws -> String { try beside("switchback") }

    /// The executable of that name that was built beside these tests. Throws `TestTimeout` when it is not there.
    public static func beside(_ name: String) throws -> String {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = URL(fileURLWithPath: tests).deletingLastPathComponent().appending(path: name).path
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw TestTimeout("no \(name) beside \(tests): build it with 'swift build'")
        }
        return path
    }

    /// `Tests/Fixtures`.
    public static func fixture(_ name: String, from file: String = #filePath) -> String {
        URL(fileURLWithPath: file).deletingLastPathComponent().deletingLastPathComponent().appending(path: "Fixtures/\(name)").path
    }
}
