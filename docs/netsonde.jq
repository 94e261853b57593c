# Reads the OTLP/JSON lines that netsonde writes: jq -L docs 'include "netsonde"; …'

# An OTLP value as a plain one.
def plain:
  if has("arrayValue") then [.arrayValue.values[] | plain]
  elif has("kvlistValue") then .kvlistValue.values | map({(.key): .value | plain}) | add // {}
  elif has("intValue") then .intValue | tonumber
  else to_entries[0].value end;

def attributes: map({(.key): .value | plain}) | add // {};

# Each point of a metric: its attributes with .value, or .count and .sum (of a histogram).
def points($metric):
  .resourceMetrics[]?.scopeMetrics[].metrics[] | select(.name == $metric)
  | (.sum // .gauge // .histogram).dataPoints[]
  | (.attributes | attributes)
    + if has("sum") then {count: .count | tonumber, sum} else {value: (.asInt // .asDouble) | tonumber} end;

# Each log record: its attributes with .event, .time (Unix seconds) and .body.
def events:
  .resourceLogs[]?.scopeLogs[].logRecords[]
  | (.attributes | attributes)
    + {event: .eventName, time: (.timeUnixNano | tonumber / 1e9), body: .body.stringValue};
