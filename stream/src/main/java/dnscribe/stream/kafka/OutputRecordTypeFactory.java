package dnscribe.stream.kafka;

import java.io.IOException;
import java.lang.reflect.Type;
import java.util.Map;
import org.apache.flink.api.common.typeinfo.TypeInfoFactory;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.base.TypeSerializerSingleton;
import org.apache.flink.core.memory.DataInputView;
import org.apache.flink.core.memory.DataOutputView;
import org.apache.flink.types.StringValue;

/** Type of {@link OutputRecord} for Flink, which every record of a job passes through. */
public final class OutputRecordTypeFactory extends TypeInfoFactory<OutputRecord> {
  @Override
  public TypeInformation<OutputRecord> createTypeInfo(
      Type type, Map<String, TypeInformation<?>> parameters) {
    return new ValueType<>(OutputRecord.class, Serializer.INSTANCE);
  }

  /** Serializer: byte arrays have their lengths before them; -1 stands for no key. */
  public static final class Serializer extends TypeSerializerSingleton<OutputRecord> {
    static final Serializer INSTANCE = new Serializer();

    @Override
    public boolean isImmutableType() {
      return true;
    }

    @Override
    public OutputRecord createInstance() {
      return new OutputRecord("", new byte[0], 0, 0, null, new byte[0]);
    }

    @Override
    public OutputRecord copy(OutputRecord from) {
      return from;
    }

    @Override
    public OutputRecord copy(OutputRecord from, OutputRecord reuse) {
      return from;
    }

    @Override
    public int getLength() {
      return -1;
    }

    @Override
    public void serialize(OutputRecord record, DataOutputView out) throws IOException {
      StringValue.writeString(record.schema(), out);
      write(record.node(), out);
      out.writeLong(record.idHigh());
      out.writeLong(record.idLow());
      write(record.key(), out);
      write(record.value(), out);
    }

    private static void write(byte[] bytes, DataOutputView out) throws IOException {
      if (bytes == null) {
        out.writeInt(-1);
      } else {
        out.writeInt(bytes.length);
        out.write(bytes);
      }
    }

    @Override
    public OutputRecord deserialize(DataInputView in) throws IOException {
      return new OutputRecord(
          StringValue.readString(in), read(in), in.readLong(), in.readLong(), read(in), read(in));
    }

    private static byte[] read(DataInputView in) throws IOException {
      int length = in.readInt();
      if (length < 0) {
        return null;
      }
      byte[] bytes = new byte[length];
      in.readFully(bytes);
      return bytes;
    }

    @Override
    public OutputRecord deserialize(OutputRecord reuse, DataInputView in) throws IOException {
      return deserialize(in);
    }

    @Override
    public void copy(DataInputView in, DataOutputView out) throws IOException {
      serialize(deserialize(in), out);
    }

    @Override
    public TypeSerializerSnapshot<OutputRecord> snapshotConfiguration() {
      return new Snapshot();
    }
  }

  /** Names the serializer in a savepoint. */
  public static final class Snapshot extends SimpleTypeSerializerSnapshot<OutputRecord> {
    /** Creates a snapshot. */
    public Snapshot() {
      super(() -> Serializer.INSTANCE);
    }
  }
}
