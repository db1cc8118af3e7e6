-- Sends the requests that the file REQUESTS lists, over and over, and prints what came of it.
-- A line is method, path, Authorization, the user's id, the client's address and a body, by tabs.

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

function init()
  prepared = {}
  for line in io.lines(os.getenv("REQUESTS")) do
    local method, path, authorization, user, address, body =
      line:match("(.-)\t(.-)\t(.-)\t(.-)\t(.-)\t(.*)")
    local headers = { ["Authorization"] = authorization, ["X-User"] = user }
    if address ~= "" then
      headers["X-Forwarded-For"] = address
    end
    if body ~= "" then
      headers["Content-Type"] = "application/json"
    end
    table.insert(prepared, wrk.format(method, path, headers, body ~= "" and body or nil))
  end
  -- Each thread begins at a place of its own, so that no two delete the same task.
  next_one = math.floor(#prepared / 2) * number
end

function request()
  next_one = next_one % #prepared + 1
  return prepared[next_one]
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %f, "bad": %d, "p50": %f, "p95": %f, "p99": %f}',
    summary.requests,
    summary.duration / 1e6,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1000,
    latency:percentile(95) / 1000,
    latency:percentile(99) / 1000
  ))
end
