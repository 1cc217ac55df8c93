package dnscribe.stream;

import java.nio.charset.StandardCharsets;

/** Records as the agent writes them. */
public final class Records {
  private Records() {}

  /** Returns a transaction with this number in its event id. */
  public static byte[] transaction(int number) {
    return bytes(
        """
        {"schema":"dns.transaction/1","event_id":"%032x","ts":"2026-01-02T03:04:05.123456789Z",\
        "node":"n1","vantage":"client","transport":"udp","client_ip":"192.0.2.1","client_port":4242,\
        "server_ip":"192.0.2.53","server_port":53,"id":7,"opcode":"QUERY","qname":"www.example.com",\
        "qtype":"A","qclass":"IN","zone":"example.com","status":"answered","rcode":"NOERROR",\
        "latency_ms":1.25,"retries":0,"flags":["rd","ra"],"answers":[{"name":"www.example.com",\
        "type":"A","ttl":60,"data":"198.51.100.1"}],"resolver":"192.0.2.53"}"""
            .formatted(number));
  }

  /** Returns the bytes of a text. */
  public static byte[] bytes(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }

  /** Returns the text of bytes. */
  public static String text(byte[] bytes) {
    return new String(bytes, StandardCharsets.UTF_8);
  }
}
