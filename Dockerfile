# carcli for machines without a GPU: serves by default, and runs any other command.
FROM python:3.12-slim
RUN pip install --no-cache-dir uv
COPY pyproject.toml weights.toml README.md LICENSE /src/
COPY carcli /src/carcli
RUN uv pip install --system --no-cache --torch-backend cpu '/src[serve]' && rm -r /src
RUN useradd --create-home carcli
USER carcli
ENV CARCLI_HOME=/home/carcli/.carcli
EXPOSE 8000
ENTRYPOINT ["carcli"]
CMD ["serve", "--host", "0.0.0.0"]
