import ChangePropagation
import Demo
import Foundation

extension DrillSetting {
    /// A drill in two datacenters of its own. Finds free ports. Throws `DrillFailure`.
    /// - Parameters:
    ///   - store: `sqlite` or `etcd`; `etcd`: that program.
    ///   - beganAt: now, in milliseconds since 1970.
    public static func embedded(
        id: String, _ plan: DrillPlan, seed: UInt64, store: String, etcd: String?, operatorName: String, beganAt: Int64
    ) throws -> DrillSetting {
        let ports: [Int]
        do { ports = try EmbeddedSites.ports(store: store, scenario: plan.scenario) } catch let error as DemoFailure {
            throw DrillFailure(error.description)
        }
        return DrillSetting(
            id: id, plan: plan, mode: .embedded, seed: seed, store: store, ports: ports, origin: TwoSites.home.name, target: TwoSites.away.name,
            group: TwoSites.group, operatorName: operatorName, beganAt: beganAt, version: Worker.version, etcd: store == "etcd" ? etcd : nil)
    }
}
