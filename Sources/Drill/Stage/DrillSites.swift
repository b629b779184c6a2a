import Checkpoints
import Handover
import KafkaLog

extension StorePatience {
    /// A drill that ends half-way leaves work behind: rather it is late, which its report says, too.
    static let ofDrills = StorePatience(limit: .seconds(20))
}

/// The two datacenters that a drill is run on.
protocol DrillSites: Sendable {
    var store: any SharedStore { get }
    /// Which assignment is moved.
    var key: AssignmentKey { get }
    var target: Datacenter { get }
    var topic: String { get }
    func client(_ datacenter: Datacenter, _ name: String) -> KafkaClientConfiguration

    /// Brings everything up and waits until both sides' workers have reported.
    /// - Parameters:
    ///   - isNew: else the drill was interrupted, and what it left is gone on with.
    ///   - homeIsUp: false: the origin's datacenter is to stay lost.
    func begin(isNew: Bool, homeIsUp: Bool) async throws

    /// The origin's datacenter is lost, as far as the drill may go.
    func cutOff() async throws
    func bringBack() async throws
    func freezeWorker()
    func thawWorker()
    func freezeMirror()
    func thawMirror()
    /// Says what was killed.
    func killStoreLeader() async throws -> String
    func restoreStore() async throws

    /// Throws when a process that should run has ended.
    func check() throws
    /// Stops what runs; data stay.
    func end() async
    /// Removes what the drill made where others live.
    func cleanUp() async throws
}
