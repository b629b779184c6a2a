import KafkaLog
import Logging

extension MirrorSession {
    /// Finds each partition's place and starts to copy it there. Throws when a cluster does not answer: asked again later.
    func resume(_ partitions: [TopicPartition], _ clusters: Clusters) async throws {
        let timeout = configuration.requestTimeout
        let committed = try await MirrorError.wrapping(.target) { () async throws(KafkaLogError) in
            try await self.targetGroup.committed(partitions, timeout: timeout)
        }
        let targetEnds = try await ends(partitions, .target, partial: true)
        let sourceEnds = try await ends(partitions, .source, partial: true)
        let seen = ContinuousClock.now
        var plans: [TopicPartition: ResumePlan] = [:]
        var stored: [TopicPartition: CommittedProgress] = [:]
        for partition in partitions {
            guard let source = sourceEnds[partition], let target = targetEnds[partition] else { continue }
            let entry: CommittedOffset?
            do throws(KafkaLogError) { entry = try committed[partition]?.get() } catch { throw MirrorError.client(.target, error) }
            stored[partition] = entry.flatMap { CommittedProgress(targetOffset: $0.position.offset, metadata: $0.metadata) }
            if let entry, stored[partition] == nil {
                configuration.logger.error(
                    "the committed progress is not a mirror's: the logs are compared instead",
                    metadata: ["partition": "\(partition)", "metadata": "\(entry.metadata ?? "")"])
            }
            plans[partition] = ResumePlan.make(
                committed: stored[partition], sourceCluster: clusters.source, source: source, target: target)
        }
        let starts = try await compare(plans, clusters)
        for (partition, plan) in plans {
            guard let source = sourceEnds[partition], let target = targetEnds[partition] else { continue }
            let start = starts[partition] ?? plan.start
            report(partition, plan, matchedUpTo: starts[partition], stored[partition])
            var progress = PartitionProgress(
                next: start, targetEnd: target.high, committed: stored[partition], sourceEnd: source.high)
            progress.arrivals.note(end: source.high, at: seen)
            progress.lost = lostOffsets(plan, matchedUpTo: starts[partition])
            table.start(partition, progress)
        }
        // At once: should this process die now, the next one must not compare with the older place again.
        try await MirrorError.wrapping(.target) { () async throws(KafkaLogError) in
            try await self.commit(clusters, all: false, timeout: timeout)
        }
        let additions = plans.keys.compactMap { partition in
            table.update(partition) { $0.next }.map { (partition, Position($0, in: clusters.source)) }
        }
        try await MirrorError.wrapping(.source) { () async throws(KafkaLogError) in
            try await self.reader.assignAlso(Dictionary(additions, uniquingKeysWith: { $1 }))
        }
    }

    /// The ends of these logs. `partial`: leaves out what has no leader at the moment, instead of throwing.
    private func ends(
        _ partitions: [TopicPartition], _ side: MirrorError.Side, partial: Bool
    ) async throws -> [TopicPartition: LogEnds] {
        let admin = side == .source ? sourceAdmin : targetAdmin
        let timeout = configuration.requestTimeout
        let marks = try await MirrorError.wrapping(side) { () async throws(KafkaLogError) in
            try await admin.watermarks(partitions, timeout: timeout)
        }
        return try marks.compactMapValues { result -> LogEnds? in
            switch result {
            case .success(let marks): return LogEnds(low: marks.low.offset, high: marks.high.offset)
            case .failure(let error):
                if partial, error.isRetriable { return nil }
                throw MirrorError.client(side, error)
            }
        }
    }

    // MARK: Comparing

    private struct Comparison {
        var targetNext: Int64
        let targetEnd: Int64
        var sourceNext: Int64
    }

    /// Where the source goes on after the records that the target already has; nothing for a partition without a run, or
    /// whose run is not the source's records.
    private func compare(
        _ plans: [TopicPartition: ResumePlan], _ clusters: Clusters
    ) async throws -> [TopicPartition: Int64] {
        let runs = plans.filter { $0.value.run != nil }.sorted { $0.key < $1.key }
        guard !runs.isEmpty else { return [:] }
        let scanner = try KafkaConsumer(KafkaConsumerConfiguration(client: configuration.client(.source)))
        var starts: [TopicPartition: Int64] = [:]
        do {
            for begin in stride(from: 0, to: runs.count, by: MirrorLimits.comparedPartitions) {
                let some = runs[begin..<min(begin + MirrorLimits.comparedPartitions, runs.count)]
                try await compareSome(Dictionary(some.map { ($0.key, $0.value) }, uniquingKeysWith: { $1 }), scanner, clusters, &starts)
            }
        } catch {
            try? await scanner.close(within: .seconds(1))
            throw error
        }
        try? await scanner.close(within: .seconds(1))
        return starts
    }

    private func compareSome(
        _ plans: [TopicPartition: ResumePlan], _ scanner: KafkaConsumer, _ clusters: Clusters,
        _ starts: inout [TopicPartition: Int64]
    ) async throws {
        let source = LogScan(consumer: scanner, cluster: clusters.source, requestTimeout: configuration.requestTimeout)
        let target = LogScan(consumer: targetGroup, cluster: clusters.target, requestTimeout: configuration.requestTimeout)
        var open: [TopicPartition: Comparison] = [:]
        for (partition, plan) in plans {
            guard let run = plan.run else { continue }
            // What the source no longer has can't be compared: its copies are passed over by their number.
            let first = min(run.lowerBound + plan.skipsInRun, run.upperBound)
            open[partition] = Comparison(targetNext: first, targetEnd: run.upperBound, sourceNext: plan.compareSource)
        }
        while !open.isEmpty {
            try Task.checkCancellation()
            let copies = try await scan(target, .target, open.mapValues {
                LogScan.Stretch(from: $0.targetNext, end: $0.targetEnd, limit: MirrorLimits.comparisonChunk)
            })
            let ends = try await ends(Array(open.keys), .source, partial: false)
            let originals = try await scan(source, .source, open.keys.reduce(into: [:]) { stretches, partition in
                stretches[partition] = LogScan.Stretch(
                    from: open[partition]?.sourceNext ?? 0, end: ends[partition]?.high ?? 0, limit: copies[partition]?.prints.count ?? 0)
            })
            for (partition, comparison) in open {
                open[partition] = nil
                guard let copy = copies[partition], let original = originals[partition] else { continue }
                guard copy.prints.count == original.prints.count,
                    zip(copy.prints, original.prints).allSatisfy({ $0.isCopy(of: $1) })
                else { continue }
                let sourceNext = original.prints.isEmpty ? comparison.sourceNext : original.next
                if copy.next >= comparison.targetEnd {
                    starts[partition] = sourceNext
                } else {
                    open[partition] = Comparison(
                        targetNext: copy.next, targetEnd: comparison.targetEnd, sourceNext: sourceNext)
                }
            }
        }
    }

    private func scan(
        _ scan: LogScan, _ side: MirrorError.Side, _ stretches: [TopicPartition: LogScan.Stretch]
    ) async throws -> [TopicPartition: LogScan.Found] {
        do {
            return try await scan.read(stretches)
        } catch let error as KafkaLogError {
            throw MirrorError.client(side, error)
        }
    }

    // MARK: Reporting

    /// Source offsets that no copy exists of: trimmed ones, less those whose copies stood in the run.
    private func lostOffsets(_ plan: ResumePlan, matchedUpTo: Int64?) -> Int64 {
        guard let lost = plan.lost else { return 0 }
        let copied = matchedUpTo == nil ? 0 : Int64(plan.run?.count ?? 0)
        return max(0, Int64(lost.count) - copied)
    }

    private func report(
        _ partition: TopicPartition, _ plan: ResumePlan, matchedUpTo: Int64?, _ committed: CommittedProgress?
    ) {
        let logger = configuration.logger
        let start = matchedUpTo ?? plan.start
        let facts: Logger.Metadata = [
            "partition": "\(partition)", "reason": "\(plan.reason.rawValue)", "start": "\(start)",
            "committed": "\(committed?.source.offset ?? -1)", "run": "\(plan.run?.count ?? 0)",
        ]
        let lost = lostOffsets(plan, matchedUpTo: matchedUpTo)
        if lost > 0, let range = plan.lost {
            logger.error(
                "gap: the source's retention took records before they were copied",
                metadata: facts.merging([
                    "from_offset": "\(range.upperBound - lost)", "to_offset": "\(range.upperBound)", "offsets": "\(lost)",
                ]) { $1 })
        }
        if plan.run != nil, matchedUpTo == nil {
            logger.warning(
                "the target's last records are not the source's next ones: records may be copied twice", metadata: facts)
        } else if plan.isUnusual {
            logger.warning("the committed place was of no use", metadata: facts)
        } else {
            logger.info("the mirror copies a partition", metadata: facts)
        }
    }
}

extension KafkaConsumer {
    /// Reads these partitions too; the others go on where they are. One step on the consumer's thread, so that no record is
    /// handed out between looking where the others are and assigning.
    func assignAlso(_ positions: [TopicPartition: Position]) throws(KafkaLogError) {
        guard !positions.isEmpty else { return }
        try assign(try self.positions().merging(positions) { $1 })
    }
}
