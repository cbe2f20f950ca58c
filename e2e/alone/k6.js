// Load for e2e/alone/k6.rs: each scenario is one way to reach the service. Lost is what a user would call so; a WebSocket
// may end when its time is over, and until then every message comes back.
import http from 'k6/http';
import ws from 'k6/ws';
import { sleep } from 'k6';
import { Counter } from 'k6/metrics';

const seconds = Number(__ENV.SECONDS);
// Below what a pod has from being told to stop until its connections are cut.
const SESSION = 8000;
const lost = new Counter('lost');
const answered = new Counter('answered');

const scenario = (exec, vus, env) => ({
  executor: 'constant-vus', exec, vus, env, duration: `${seconds}s`, gracefulStop: '40s',
});

const { CLUSTER, PLAIN, TLS } = __ENV;
const scenarios = {
  cluster_kept: scenario('get', 4, { URL: `http://${CLUSTER}/version`, PROTOCOL: 'HTTP/1.1' }),
  cluster_anew: scenario('get', 2, { URL: `http://${CLUSTER}/version`, PROTOCOL: 'HTTP/1.1', CLOSE: '1' }),
  cluster_long: scenario('get', 4, { URL: `http://${CLUSTER}/delay/6`, PROTOCOL: 'HTTP/1.1' }),
  cluster_sockets: scenario('socket', 4, { URL: `ws://${CLUSTER}/ws/echo` }),
  traefik_kept: scenario('get', 4, { URL: `http://${PLAIN}/version`, PROTOCOL: 'HTTP/1.1' }),
  traefik_anew: scenario('get', 2, { URL: `http://${PLAIN}/version`, PROTOCOL: 'HTTP/1.1', CLOSE: '1' }),
  traefik_http2: scenario('get', 4, { URL: `https://${TLS}/version`, PROTOCOL: 'HTTP/2.0' }),
  traefik_http2_long: scenario('get', 4, { URL: `https://${TLS}/delay/6`, PROTOCOL: 'HTTP/2.0' }),
  traefik_sockets: scenario('socket', 4, { URL: `ws://${PLAIN}/ws/echo` }),
};

const thresholds = {};
for (const name of Object.keys(scenarios)) {
  thresholds[`lost{scenario:${name}}`] = ['count==0'];
  thresholds[`answered{scenario:${name}}`] = ['count>0'];
}

const names = [PLAIN, TLS].map((address) => address.split(':')[0]);
export const options = {
  scenarios,
  thresholds,
  insecureSkipTLSVerify: true,
  // The name that Traefik routes by leads to this machine.
  hosts: Object.fromEntries(names.map((name) => [name, '127.0.0.1'])),
};

function count(reason) {
  if (reason) console.error(reason);
  // Both, so that a summary shows a zero too.
  lost.add(reason ? 1 : 0);
  answered.add(reason ? 0 : 1);
}

export function get() {
  const headers = __ENV.CLOSE ? { Connection: 'close' } : {};
  const answer = http.get(__ENV.URL, { headers, timeout: '30s' });
  const good = answer.status === 200 && answer.proto === __ENV.PROTOCOL;
  count(good ? '' : `${__ENV.URL}: ${answer.status} ${answer.proto} ${answer.error}`);
  sleep(0.05);
}

export function socket() {
  let [sent, back, ended, broken] = [0, 0, false, ''];
  const answer = ws.connect(__ENV.URL, {}, (connection) => {
    connection.on('open', () => {
      connection.setInterval(() => {
        if (!ended) {
          sent += 1;
          connection.send(`${sent}`);
        }
      }, 100);
      // What was sent last has a second to come back.
      connection.setTimeout(() => { ended = true; }, SESSION - 1000);
      connection.setTimeout(() => connection.close(), SESSION);
    });
    connection.on('message', (text) => {
      if (JSON.parse(text).msg) back += 1;
    });
    connection.on('error', (error) => { broken = error.error(); });
  });
  const status = answer && answer.status;
  const good = status === 101 && sent > 10 && sent === back && !broken;
  count(good ? '' : `${__ENV.URL}: ${status}, ${back} of ${sent} messages came back ${broken}`);
}

export function handleSummary(data) {
  const of = (metric, name) => {
    const found = data.metrics[`${metric}{scenario:${name}}`];
    return found ? found.values.count : 0;
  };
  const rows = Object.keys(scenarios).map((name) => [name, { answered: of('answered', name), lost: of('lost', name) }]);
  return { stdout: JSON.stringify(Object.fromEntries(rows)) };
}
