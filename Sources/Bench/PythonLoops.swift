/// The loops of the clients for Python: SERVERS TOPIC PARTITIONS RECORDS BATCH [NAME=VALUE]…; each prints a `ChildResult`.
enum PythonLoops {
    static let common = """
        import json, resource, sys, time

        servers, topic = sys.argv[1], sys.argv[2]
        partitions, records, batch = (int(text) for text in sys.argv[3:6])
        pairs = [text.split("=", 1) for text in sys.argv[6:]]

        def used():
            usage = resource.getrusage(resource.RUSAGE_SELF)
            return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024

        def tell(count, size, began, before):
            seconds, (cpu, peak) = time.monotonic() - began, used()
            print(json.dumps({"records": count, "bytes": size, "seconds": seconds, "cpuSeconds": cpu - before, "peak": peak, "steady": 0}))

        count = size = 0

        """

    static let confluent = """
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench", "enable.auto.commit": False, **dict(pairs)})
        consumer.list_topics(topic, timeout=10)  # connected before the time runs
        began, (before, _) = time.monotonic(), used()
        consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        while count < records:
            for message in consumer.consume(batch, 1.0):
                if message.error():
                    sys.exit(str(message.error()))
                count += 1
                size += len(message)
        tell(count, size, began, before)

        """

    static let kafkaPython = """
        from kafka import KafkaConsumer, TopicPartition

        settings = {name: json.loads(value) for name, value in pairs}
        consumer = KafkaConsumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False, **settings)
        consumer.topics()  # connected before the time runs
        wanted = [TopicPartition(topic, number) for number in range(partitions)]
        began, (before, _) = time.monotonic(), used()
        consumer.assign(wanted)
        for partition in wanted:
            consumer.seek(partition, 0)
        if batch == 0:
            for message in consumer:
                count += 1
                size += len(message.value)
                if count >= records:
                    break
        while count < records:
            for messages in consumer.poll(timeout_ms=1000, max_records=batch).values():
                count += len(messages)
                size += sum(len(message.value) for message in messages)
        tell(count, size, began, before)

        """
}
