import ArgumentParser
import Demo
import Foundation

/// What two whole datacenters need before they start: the program beside this one, a folder and an etcd.
struct SitesStand {
    let executable: String
    let directory: URL
    let store: LeashedProcess
    /// The etcd's.
    let port: Int

    /// - Parameters:
    ///   - folder: where everything goes; nil: a new temporary one, named after `what`.
    static func prepare(in folder: String?, for what: String) throws -> SitesStand {
        guard let etcd = DemoConfiguration.installedEtcd() else { throw ValidationError("there is no etcd on the PATH; 'make deps' installs it") }
        let executable = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath().deletingLastPathComponent().appending(path: "switchback").path
        guard FileManager.default.isExecutableFile(atPath: executable) else {
            throw ValidationError("no switchback at \(executable); build it in the same configuration")
        }
        let directory = folder.map { URL(filePath: $0) } ?? FileManager.default.temporaryDirectory.appending(path: "switchback-\(what)-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        let ports = try FreePorts.take(2)
        let store = try Demo.startEtcd(etcd, in: directory, ports: (ports[0], ports[1]))
        return SitesStand(executable: executable, directory: directory, store: store, port: ports[0])
    }
}
