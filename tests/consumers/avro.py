"""Runs Confluent's client for Kafka and the schema registry; prints one JSON line per result.

    avro.py consume BOOTSTRAP REGISTRY TOPIC [SCHEMA]   every record, read with SCHEMA if given
    avro.py produce BOOTSTRAP REGISTRY TOPIC SCHEMA     writes the records of standard input
    avro.py subjects REGISTRY                           the names of all subjects
    avro.py latest REGISTRY SUBJECT                     id and schema of the latest version
    avro.py register REGISTRY SUBJECT SCHEMA            the id, or the error of the registry
    avro.py demand REGISTRY SUBJECT LEVEL               sets the compatibility level of new versions

SCHEMA is the text of the schema.
"""

import json
import sys

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

TIMEOUT_SECONDS = 60


def client(url):
    return SchemaRegistryClient({"url": url})


def consume(bootstrap, registry, topic, schema=None):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "avro.py"})
    decode = AvroDeserializer(client(registry), schema_str=schema)
    context = SerializationContext(topic, MessageField.VALUE)
    offsets, left = [], 0
    partitions = consumer.list_topics(topic, TIMEOUT_SECONDS).topics[topic].partitions
    for partition in partitions:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_SECONDS)
        offsets.append(TopicPartition(topic, partition, low))
        left += high - low
    consumer.assign(offsets)
    while left > 0:
        message = consumer.poll(TIMEOUT_SECONDS)
        if message is None or message.error():
            sys.exit(f"{left} records of {topic} did not arrive: {message and message.error()}")
        payload = message.value()
        yield {
            "magic": payload[0],
            "id": int.from_bytes(payload[1:5], "big"),
            "headers": {key: value.decode() for key, value in message.headers() or []},
            "value": decode(payload, context),
        }
        left -= 1
    consumer.close()


def produce(bootstrap, registry, topic, schema):
    producer = Producer({"bootstrap.servers": bootstrap})
    encode = AvroSerializer(client(registry), schema)
    context = SerializationContext(topic, MessageField.VALUE)
    for line in sys.stdin:
        producer.produce(topic, encode(json.loads(line), context))
    if left := producer.flush(TIMEOUT_SECONDS):
        sys.exit(f"{left} records did not arrive")
    return []


def subjects(registry):
    return client(registry).get_subjects()


def latest(registry, subject):
    found = client(registry).get_latest_version(subject)
    return [{"id": found.schema_id, "schema": json.loads(found.schema.schema_str)}]


def register(registry, subject, schema):
    try:
        return [{"id": client(registry).register_schema(subject, Schema(schema, "AVRO"))}]
    except SchemaRegistryError as error:
        return [{"status": error.http_status_code, "message": error.error_message}]


def demand(registry, subject, level):
    client(registry).set_compatibility(subject, level)
    return []


if __name__ == "__main__":
    commands = {command.__name__: command for command in (consume, produce, subjects, latest, register, demand)}
    for result in commands[sys.argv[1]](*sys.argv[2:]):
        print(json.dumps(result))
