// A stand-in for a service: the endpoints and manners of the real ones, and nothing else.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

var (
	name     = cmp.Or(os.Getenv("SERVICE_NAME"), "standin")
	version  = cmp.Or(os.Getenv("SERVICE_VERSION"), os.Getenv("IMAGE_VERSION"), "unknown")
	unready  atomic.Bool
	requests atomic.Int64
)

func answer(w http.ResponseWriter, status int, body map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok"})
}

func ready(w http.ResponseWriter, _ *http.Request) {
	if unready.Load() {
		answer(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready"})
		return
	}
	answer(w, http.StatusOK, map[string]string{"status": "ready"})
}

func index(w http.ResponseWriter, _ *http.Request) {
	requests.Add(1)
	answer(w, http.StatusOK, map[string]string{"service": name, "version": version})
}

// toggle lets a test make this pod unready and ready again.
func toggle(w http.ResponseWriter, r *http.Request) {
	unready.Store(r.FormValue("ready") == "false")
	ready(w, r)
}

func metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, "# TYPE standin_requests_total counter\nstandin_requests_total{service=%q,version=%q} %d\n", name, version, requests.Load())
}

func serve(port string, routes map[string]http.HandlerFunc) *http.Server {
	mux := http.NewServeMux()
	for pattern, handler := range routes {
		mux.HandleFunc(pattern, handler)
	}
	server := &http.Server{Addr: ":" + port, Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		if err := server.ListenAndServe(); err != http.ErrServerClosed {
			log.Fatal(err)
		}
	}()
	return server
}

func main() {
	unready.Store(os.Getenv("READY") == "false")
	servers := []*http.Server{
		serve(cmp.Or(os.Getenv("PORT"), "8080"), map[string]http.HandlerFunc{
			"GET /health": health, "GET /ready": ready, "POST /toggle": toggle, "GET /metrics": metrics, "GET /{$}": index,
		}),
	}
	// Without a sidecar, metrics have a port of their own.
	if port := os.Getenv("PROMETHEUS_PORT"); port != "" {
		servers = append(servers, serve(port, map[string]http.HandlerFunc{"GET /metrics": metrics}))
	}
	log.Printf("%s %s listens", name, version)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	<-ctx.Done()
	grace, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, server := range servers {
		server.Shutdown(grace)
	}
}
