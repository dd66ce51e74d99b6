# One image for web, worker, sweeper and migrate: docker-compose.yml says which command runs.
FROM python:3.13-slim AS packages
RUN python -m venv /venv
COPY requirements.txt .
RUN /venv/bin/pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.txt

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=packages /venv /venv
WORKDIR /app
COPY manage.py ./
COPY zego_api zego_api
COPY linking linking
COPY shifts shifts
# Needs no secret: the settings can be imported without one, only the processes refuse to start.
RUN python -m compileall -q zego_api linking shifts && python manage.py collectstatic --no-input
USER 10001:10001
EXPOSE 8000
CMD ["python", "manage.py", "web"]
