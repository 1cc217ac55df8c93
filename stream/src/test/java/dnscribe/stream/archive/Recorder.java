package dnscribe.stream.archive;

import org.apache.parquet.io.api.Binary;
import org.apache.parquet.io.api.RecordConsumer;

/** Writes what it is given as text: groups in braces, strings in quotes. */
final class Recorder extends RecordConsumer {
  final StringBuilder text = new StringBuilder();

  @Override
  public void startMessage() {
    startGroup();
  }

  @Override
  public void endMessage() {
    endGroup();
  }

  @Override
  public void startField(String field, int index) {
    text.append(field).append('=');
  }

  @Override
  public void endField(String field, int index) {
    text.append(' ');
  }

  @Override
  public void startGroup() {
    text.append('{');
  }

  @Override
  public void endGroup() {
    text.append('}');
  }

  @Override
  public void addInteger(int value) {
    text.append(value);
  }

  @Override
  public void addLong(long value) {
    text.append(value).append('L');
  }

  @Override
  public void addBoolean(boolean value) {
    text.append(value);
  }

  @Override
  public void addBinary(Binary value) {
    text.append('\'').append(value.toStringUsingUTF8()).append('\'');
  }

  @Override
  public void addFloat(float value) {
    text.append(value);
  }

  @Override
  public void addDouble(double value) {
    text.append(value);
  }
}
