import CRdKafka
import Glibc
import Synchronization

/// The one thread that makes all calls into one librdkafka client, in sequence. It is the serial executor of the
/// client's actor, so "on the right thread" is what the compiler calls isolation.
///
/// Besides actor jobs it runs one `wakeHandler`: after librdkafka said that a queue is no longer empty, after
/// `requestWake()`, and when `alarm` has come.
final class ClientThread: SerialExecutor, @unchecked Sendable {
    // @unchecked: `jobs`, `isWakeRequested`, `isStopping` are guarded by `mutex`; `alarm`, `wakeHandler` are touched
    // by the thread alone (`wakeHandler` also once before the first job is enqueued).
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let condition = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var jobs: [Job] = []
    private var isWakeRequested = false
    private var isStopping = false
    private let threadID = Atomic<UInt>(0)
    private let name: String

    /// When to call `wakeHandler` next, in nanoseconds of CLOCK_MONOTONIC; nil: only when asked to.
    var alarm: UInt64?
    var wakeHandler: (@Sendable () -> Void)?

    private struct Job {
        let job: UnownedJob
        /// That of a task in place; nil: the job is the actor's own.
        let inPlace: UnownedTaskExecutor?
    }

    init(name: String) {
        self.name = name
        pthread_mutex_init(mutex, nil)
        var attributes = pthread_condattr_t()
        pthread_condattr_init(&attributes)
        pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
        pthread_cond_init(condition, &attributes)
        pthread_condattr_destroy(&attributes)
    }

    deinit {
        pthread_cond_destroy(condition)
        pthread_mutex_destroy(mutex)
        condition.deallocate()
        mutex.deallocate()
    }

    /// Starts the thread. Throws when the system can't give one (EAGAIN).
    func start() throws(KafkaLogError) {
        let result = spawnThread(name: name) { self.run() }
        guard result == 0 else { throw .threadUnavailable(errno: result) }
    }

    /// Ends the thread after the jobs that are there. Called when nobody can enqueue any more.
    func stop() {
        pthread_mutex_lock(mutex)
        isStopping = true
        pthread_cond_signal(condition)
        pthread_mutex_unlock(mutex)
    }

    /// From any thread, also librdkafka's: `wakeHandler` will run soon.
    func requestWake() {
        pthread_mutex_lock(mutex)
        let wasRequested = isWakeRequested
        isWakeRequested = true
        if !wasRequested { pthread_cond_signal(condition) }
        pthread_mutex_unlock(mutex)
    }

    func enqueue(_ job: consuming ExecutorJob) { enqueue(UnownedJob(job), inPlace: nil) }

    fileprivate func enqueue(_ job: UnownedJob, inPlace: UnownedTaskExecutor?) {
        pthread_mutex_lock(mutex)
        jobs.append(Job(job: job, inPlace: inPlace))
        if jobs.count == 1 { pthread_cond_signal(condition) }
        pthread_mutex_unlock(mutex)
    }

    func asUnownedSerialExecutor() -> UnownedSerialExecutor { UnownedSerialExecutor(ordinary: self) }

    func checkIsolated() {
        precondition(
            threadID.load(ordering: .relaxed) == UInt(pthread_self()), "librdkafka client used off its thread '\(name)'")
    }

    private func run() {
        threadID.store(UInt(pthread_self()), ordering: .relaxed)
        let executor = asUnownedSerialExecutor()
        var batch: [Job] = []
        while true {
            pthread_mutex_lock(mutex)
            while jobs.isEmpty, !isWakeRequested, !isStopping, !alarmIsDue { waitForSignal() }
            swap(&batch, &jobs)
            var shouldWake = isWakeRequested
            isWakeRequested = false
            let shouldEnd = isStopping && batch.isEmpty
            pthread_mutex_unlock(mutex)
            if shouldEnd { break }
            for job in batch {
                if let inPlace = job.inPlace {
                    job.job.runSynchronously(isolatedTo: executor, taskExecutor: inPlace)
                } else {
                    job.job.runSynchronously(on: executor)
                }
            }
            batch.removeAll(keepingCapacity: true)
            if alarmIsDue {
                alarm = nil
                shouldWake = true
            }
            if shouldWake { wakeHandler?() }
        }
        wakeHandler = nil
    }

    private var alarmIsDue: Bool { alarm.map { $0 <= monotonicNanoseconds() } ?? false }

    private func waitForSignal() {
        guard let alarm else {
            pthread_cond_wait(condition, mutex)
            return
        }
        var until = timespec(tv_sec: Int(alarm / 1_000_000_000), tv_nsec: Int(alarm % 1_000_000_000))
        pthread_cond_timedwait(condition, mutex, &until)
    }
}

/// Runs tasks on a client's thread (`KafkaConsumer.inPlace`). It is not the thread's own other half: were the actor's jobs run as those of a task executor,
/// every task without a preference would leave the actor at each of its calls, and what it had just looked at could change.
final class InPlaceExecutor: TaskExecutor {
    private let thread: ClientThread

    init(_ thread: ClientThread) { self.thread = thread }

    func enqueue(_ job: consuming ExecutorJob) { thread.enqueue(UnownedJob(job), inPlace: asUnownedTaskExecutor()) }
}

/// Nanoseconds of CLOCK_MONOTONIC, the clock of the waits in this room.
func monotonicNanoseconds() -> UInt64 {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return UInt64(now.tv_sec) * 1_000_000_000 + UInt64(now.tv_nsec)
}

/// Runs `body` on a new detached thread. Returns 0 or the errno of `pthread_create`.
func spawnThread(name: String, _ body: @escaping @Sendable () -> Void) -> Int32 {
    final class Box: Sendable {
        let name: String
        let body: @Sendable () -> Void
        init(name: String, body: @escaping @Sendable () -> Void) {
            self.name = name
            self.body = body
        }
    }
    let box = Unmanaged.passRetained(Box(name: String(name.prefix(15)), body: body))
    var thread = pthread_t()
    let result = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            let box = Unmanaged<Box>.fromOpaque(argument).takeRetainedValue()
            switchback_name_thread(box.name)
            box.body()
            return nil
        }, box.toOpaque())
    if result == 0 { pthread_detach(thread) } else { box.release() }
    return result
}

extension Duration {
    /// Whole milliseconds as librdkafka's timeouts take them: at least 0, at most a day.
    var timeoutMilliseconds: Int32 {
        let (seconds, attoseconds) = components
        let bounded = max(0, min(seconds, 86_400))
        return Int32(bounded) * 1000 + (bounded == 86_400 ? 0 : Int32(max(0, attoseconds) / 1_000_000_000_000_000))
    }

    public var nanoseconds: UInt64 {
        let (seconds, attoseconds) = components
        return UInt64(max(0, min(seconds, 1_000_000_000))) * 1_000_000_000 + UInt64(max(0, attoseconds) / 1_000_000_000)
    }
}
