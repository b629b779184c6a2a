import ChangePropagation
import Checkpoints
import Foundation
import Handover
import KafkaLog
import Logging

/// A real group on real clusters: its own workers do the work, the drill moves it and looks.
final class LiveGroup: DrillSites {
    let store: any SharedStore
    let key: AssignmentKey
    let target: Datacenter
    let topic = ""
    private let configuration: WorkerConfiguration

    init(_ setting: DrillSetting, _ configuration: WorkerConfiguration) async throws {
        guard let origin = Datacenter(setting.origin), let target = Datacenter(setting.target) else {
            throw DrillFailure("the journal names no datacenters", code: 2)
        }
        (self.configuration, self.target) = (configuration, target)
        key = AssignmentKey(group: setting.group, origin: origin)
        var logger = Logger(label: "switchback.drill")
        logger.logLevel = .critical
        store = PatientStore(try await configuration.store.configuration().open(logger: logger), patience: .ofDrills, logger: logger)
    }

    func client(_ datacenter: Datacenter, _ name: String) -> KafkaClientConfiguration { LiveClients.client(configuration, datacenter, name) }

    func begin(isNew: Bool, homeIsUp: Bool) async throws {}
    func cutOff() async throws {}
    func bringBack() async throws {}
    func freezeWorker() {}
    func thawWorker() {}
    func freezeMirror() {}
    func thawMirror() {}
    func killStoreLeader() async throws -> String { throw DrillFailure("a live drill does not touch the store's members", code: 2) }
    func restoreStore() async throws {}
    func check() throws {}
    func end() async {}
    func cleanUp() async throws { await store.close() }
}
