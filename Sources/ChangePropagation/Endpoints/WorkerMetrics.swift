import KafkaLog

/// What `/metrics` says of a worker's groups. The names are part of the interface (Docs/Configuration.md, "Endpoints").
struct WorkerMetrics {
    let groups: [GroupStatus]
    let datacenter: Datacenter
    let datacenters: Set<Datacenter>

    var text: String {
        var out = PrometheusText()
        out.family("switchback_build_info", .gauge, "Always 1.")
        out.sample("switchback_build_info", [("version", Worker.version), ("datacenter", datacenter.name)], 1)
        events(&out)
        actions(&out)
        partitions(&out)
        retries(&out)
        standby(&out)
        states(&out)
        return out.text
    }

    private func labels(_ group: GroupStatus, topic: String, _ more: PrometheusText.Labels = []) -> PrometheusText.Labels {
        let split = OriginTopic(topic: topic, known: datacenters)
        return [("group", group.group), ("origin", split?.origin.name ?? ""), ("stream", split?.stream ?? topic)] + more
    }

    private func events(_ out: inout PrometheusText) {
        out.family("switchback_events_total", .counter, "Records read to be acted on.")
        for group in groups {
            for (topic, count) in group.events.sorted(by: { $0.key < $1.key }) { out.sample("switchback_events_total", labels(group, topic: topic), count) }
        }
        out.family("switchback_events_matched_total", .counter, "Events that a rule wants.")
        each { out.sample("switchback_events_matched_total", labels($0, topic: $1.topic, [("rule", $1.rule)]), $1.matched) }
        out.family("switchback_events_left_out_total", .counter, "Events that a rule matches and left out, by reason.")
        for group in groups {
            for left in group.leftOut {
                out.sample("switchback_events_left_out_total", [("group", group.group), ("rule", left.rule), ("reason", left.reason)], left.count)
            }
        }
        let counters: [(String, String, (GroupStatus) -> Int)] = [
            ("switchback_events_unparsable_total", "Records that are no event.", \.unparsable),
            ("switchback_retries_total", "Events put into a retry topic.", \.retried),
            ("switchback_dead_letters_total", "Events put into the error topic.", \.deadLettered),
            ("switchback_gap_events_total", "Places at which events may be missing or repeated.", \.gaps),
        ]
        for (name, help, value) in counters {
            out.family(name, .counter, help)
            for group in groups { out.sample(name, [("group", group.group)], value(group)) }
        }
    }

    private func actions(_ out: inout PrometheusText) {
        out.family("switchback_actions_total", .counter, "Events that were acted on, by result.")
        each { group, activity in
            for (result, count) in activity.results.sorted(by: { $0.key < $1.key }) {
                out.sample("switchback_actions_total", labels(group, topic: activity.topic, [("rule", activity.rule), ("result", result)]), count)
            }
        }
        out.family("switchback_action_failures_total", .counter, "Failed actions, by reason.")
        each { group, activity in
            for (reason, count) in activity.failures.sorted(by: { $0.key < $1.key }) {
                out.sample("switchback_action_failures_total", labels(group, topic: activity.topic, [("rule", activity.rule), ("reason", reason)]), count)
            }
        }
        out.family("switchback_action_duration_seconds", .histogram, "All requests of one event, with pauses in place.")
        each { out.histogram("switchback_action_duration_seconds", labels($0, topic: $1.topic, [("rule", $1.rule)]), $1.duration) }
    }

    private func partitions(_ out: inout PrometheusText) {
        let gauges: [(String, String, (GroupStatus.Partition) -> Double?)] = [
            ("switchback_lag_records", "Records that are not done, holes included.", { $0.lagRecords.map(Double.init) }),
            ("switchback_lag_seconds", "Age of the oldest record that is not done, by its own time.", \.lagSeconds),
            ("switchback_prefix_lag_seconds", "For how long the oldest unfinished event has been here.", \.prefixLagSeconds),
            ("switchback_checkpoint_age_seconds", "Since when what is done is not all stored.", \.checkpointAgeSeconds),
            ("switchback_actions_running", "Actions that run now.", { Double($0.running) }),
            ("switchback_actions_waiting", "Events that wait for a slot.", { Double($0.waiting) }),
        ]
        for (name, help, value) in gauges {
            out.family(name, .gauge, help)
            each { (group, partition: GroupStatus.Partition) in
                if let value = value(partition) { out.sample(name, labels(group, partition), value) }
            }
        }
    }

    private func retries(_ out: inout PrometheusText) {
        let name = "switchback_retries_waiting"
        out.family(name, .gauge, "Retries in memory that are not due yet.")
        each { (group, partition: GroupStatus.Partition) in
            if group.readsRetries { out.sample(name, labels(group, partition), partition.delayed) }
        }
    }

    private func standby(_ out: inout PrometheusText) {
        let gauges: [(String, String, (GroupStatus.Standby) -> Double?)] = [
            ("switchback_standby_repeats", "If we failed over now: events that would be repeated, at most.", { $0.repeatsAtMost.map(Double.init) }),
            ("switchback_standby_behind_seconds", "How far the mirror is behind the newest checkpoint, at least.", { $0.behindSeconds ?? ($0.isTailHere ? 0 : nil) }),
            ("switchback_standby_gap", "1: a failover now would raise a gap event, or be refused.", { $0.gap != nil || $0.refusal != nil ? 1 : 0 }),
        ]
        for (name, help, value) in gauges {
            out.family(name, .gauge, help)
            each { (group, partition: GroupStatus.Partition) in
                if let value = partition.standby.flatMap(value) { out.sample(name, labels(group, partition), value) }
            }
        }
    }

    private func states(_ out: inout PrometheusText) {
        out.family("switchback_store_reachable", .gauge, "Whether the checkpoint store answers.")
        for group in groups { out.sample("switchback_store_reachable", [("group", group.group)], group.isStoreReachable ? 1 : 0) }
        out.family("switchback_assignment_epoch", .gauge, "The origin's epoch, as this worker knows it.")
        out.family("switchback_lease_valid", .gauge, "Whether this worker may act on what it owns of the origin.")
        for group in groups {
            for origin in group.origins {
                let labels = [("group", group.group), ("origin", origin.origin)] as PrometheusText.Labels
                out.sample("switchback_assignment_epoch", labels, origin.epoch)
                out.sample("switchback_lease_valid", labels, origin.hasLease ? 1 : 0)
            }
        }
        out.family("switchback_partitions", .gauge, "Partitions of this worker, by stage.")
        for group in groups {
            for (stage, count) in Dictionary(grouping: group.partitions, by: \.stage).mapValues(\.count).sorted(by: { $0.key < $1.key }) {
                out.sample("switchback_partitions", [("group", group.group), ("stage", stage)], count)
            }
        }
    }

    private func labels(_ group: GroupStatus, _ partition: GroupStatus.Partition) -> PrometheusText.Labels {
        labels(group, topic: partition.topic, [("partition", String(partition.partition))])
    }

    private func each(_ body: (GroupStatus, GroupStatus.Activity) -> Void) {
        for group in groups { for activity in group.activities { body(group, activity) } }
    }

    private func each(_ body: (GroupStatus, GroupStatus.Partition) -> Void) {
        for group in groups { for partition in group.partitions { body(group, partition) } }
    }
}
