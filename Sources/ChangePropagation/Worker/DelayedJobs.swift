import DequeModule

/// Jobs that are not due yet, the next one first. They hold no slot.
struct DelayedJobs: Sendable {
    private var jobs: Deque<Job> = []

    var count: Int { jobs.count }
    var isEmpty: Bool { jobs.isEmpty }
    /// In the order of their due times.
    var all: [Job] { Array(jobs) }

    mutating func insert(_ job: Job) {
        // Due times mostly rise along the log.
        jobs.insert(job, at: (jobs.lastIndex { $0.dueAt <= job.dueAt } ?? -1) + 1)
    }

    /// The next one that is due at `now` (monotonic nanoseconds), taken out; nil: none is.
    mutating func takeDue(_ now: UInt64) -> Job? {
        guard let job = jobs.first, job.dueAt <= now else { return nil }
        return jobs.removeFirst()
    }

    subscript(offset offset: Int64) -> Job? { jobs.first { $0.offset == offset } }

    mutating func remove(offset: Int64) { jobs.removeAll { $0.offset == offset } }
    mutating func removeAll() { jobs = [] }
}
