# shellcheck shell=bash
# One authority, and a certificate and kubeconfig for each component.

PKI_DAYS=365

# rustls refuses X.509 v1, which is what openssl makes without an extension file.
sign() { # NAME SUBJECT EXTENSIONS
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$1.key" -subj "$2" 2>/dev/null |
    openssl x509 -req -CA ca.crt -CAkey ca.key -set_serial "0x$(openssl rand -hex 8)" -days $PKI_DAYS \
      -extfile <(echo "$3") -out "$1.crt" 2>/dev/null
}

write_kubeconfig() { # NAME FILE
  cat >"$2" <<END
apiVersion: v1
kind: Config
current-context: visiobook
contexts: [{name: visiobook, context: {cluster: visiobook, user: $1}}]
clusters:
  - name: visiobook
    cluster:
      server: https://$NODE_IP:6443
      certificate-authority-data: $(base64 -w0 <ca.crt)
users:
  - name: $1
    user:
      client-certificate-data: $(base64 -w0 <"$1.crt")
      client-key-data: $(base64 -w0 <"$1.key")
END
}

make_certificates() (
  umask 077
  mkdir -p "$STATE/pki"
  cd "$STATE/pki" || exit
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.crt \
    -subj /CN=visiobook-e2e -days $PKI_DAYS 2>/dev/null
  openssl ecparam -name prime256v1 -genkey -noout -out service-accounts.key
  openssl ec -in service-accounts.key -pubout -out service-accounts.pub 2>/dev/null

  local leaf=basicConstraints=CA:FALSE names
  names=IP:$NODE_IP,IP:$API_SERVICE_IP,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
  sign apiserver /CN=kube-apiserver "subjectAltName=$names"
  sign front-proxy /CN=front-proxy-client $leaf
  sign admin /O=system:masters/CN=admin $leaf
  sign controller-manager /CN=system:kube-controller-manager $leaf
  sign scheduler /CN=system:kube-scheduler $leaf
  sign kubelet "/O=system:nodes/CN=system:node:$NODE" $leaf
  sign proxy /CN=system:kube-proxy $leaf

  local component
  for component in controller-manager scheduler kubelet proxy; do
    write_kubeconfig $component $component.kubeconfig
  done
  write_kubeconfig admin "$STATE/kubeconfig"
)
