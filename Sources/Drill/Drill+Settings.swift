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

    /// A drill on real clusters: with canaries of its own, or (with `group`) of the real group. Throws `DrillFailure`, `ConfigurationError`.
    /// - Parameters:
    ///   - file: the worker.yaml that names clusters and store.
    ///   - origin: nil: the file's own datacenter.
    ///   - target: nil: the only other one.
    public static func live(
        id: String, _ plan: DrillPlan, seed: UInt64, file: String, group: String?, origin: String?, target: String?, operatorName: String, beganAt: Int64
    ) throws -> DrillSetting {
        let configuration = try WorkerConfiguration.load(path: file)
        let known = configuration.datacenters.keys.map(\.name).sorted()
        func datacenter(_ name: String, _ option: String) throws -> String {
            guard known.contains(name) else { throw DrillFailure("\(option) \(name): no such datacenter in \(file); \(known.joined(separator: ", ")) would be right", code: 2) }
            return name
        }
        let origin = try datacenter(origin ?? configuration.datacenter.name, "--origin")
        let others = known.filter { $0 != origin }
        guard let target = try target.map({ try datacenter($0, "--to") }) ?? (others.count == 1 ? others[0] : nil), target != origin else {
            throw DrillFailure("say where to with --to: one of \(others.joined(separator: ", "))", code: 2)
        }
        guard plan.scenario.runsLive else {
            throw DrillFailure("scenario \(plan.scenario.rawValue) breaks what others use, and runs embedded only: leave --live out", code: 2)
        }
        if let group {
            guard plan.scenario == .planned else { throw DrillFailure("--group moves a real group, which only scenario planned does: nothing of it is broken for a drill", code: 2) }
            let groups = Set(configuration.rules.map(\.group)).sorted()
            guard groups.contains(group) else { throw DrillFailure("--group \(group): no rule of \(file) has it; \(groups.joined(separator: ", ")) would be right", code: 2) }
        }
        var plan = plan
        plan.embedded.lease = configuration.lease / .seconds(1)
        plan.embedded.hold = configuration.checkpoints.hold / .seconds(1)
        plan.embedded.checkpointInterval = configuration.checkpoints.interval / .seconds(1)
        plan.times.fault = max(plan.times.fault, 2 * plan.embedded.lease)
        let store: String
        switch configuration.store {
        case .sqlite: store = "sqlite"
        case .etcd(let etcd): store = "etcd, \(etcd.endpoints.count) endpoint\(etcd.endpoints.count == 1 ? "" : "s")"
        }
        return DrillSetting(
            id: id, plan: plan, mode: group == nil ? .liveCanary : .liveGroup, seed: seed, store: store, origin: origin, target: target,
            group: group ?? LiveSites.group, configuration: URL(fileURLWithPath: file).path, operatorName: operatorName, beganAt: beganAt,
            version: Worker.version)
    }
}
