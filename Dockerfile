# One image for web and worker: the command decides. PostgreSQL and Valkey run elsewhere (see compose.yaml).
FROM python:3.13-slim AS packages
COPY requirements.lock /tmp/
RUN python -m venv /opt/venv && /opt/venv/bin/python -m pip install --no-cache-dir --require-hashes -r /tmp/requirements.lock

FROM python:3.13-slim
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 DJANGO_SETTINGS_MODULE=nyxcore.settings
# git reads the sources of analyses.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin nyxcore
WORKDIR /app
COPY --from=packages /opt/venv /opt/venv
COPY LICENSE manage.py ./
COPY nyxcore nyxcore
COPY workflows workflows
COPY analysis analysis
COPY templates templates
COPY static static
RUN python manage.py collectstatic --noinput --verbosity 0 && python -m compileall -q nyxcore workflows analysis
USER nyxcore
EXPOSE 8000
# For the web server; compose.yaml turns it off for the worker. Any answer counts: the host may not be an allowed one.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "import http.client, sys; link = http.client.HTTPConnection('127.0.0.1', 8000, timeout=4); link.request('GET', '/healthz'); sys.exit(link.getresponse().status >= 500)"]
CMD ["python", "-m", "uvicorn", "nyxcore.asgi:application", "--host", "0.0.0.0", "--port", "8000", "--loop", "uvloop", "--http", "httptools", "--ws", "none", "--no-access-log", "--timeout-graceful-shutdown", "3"]
