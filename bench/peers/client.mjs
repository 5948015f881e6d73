// tus-js-client, as its documentation shows it for Node.
import { createReadStream } from "node:fs";
import { Upload } from "tus-js-client";

const [url, path, chunk] = process.argv.slice(2);
const upload = new Upload(createReadStream(path), {
  endpoint: url,
  chunkSize: chunk ? Number(chunk) : Number.POSITIVE_INFINITY,
  onError(error) {
    console.error(String(error));
    process.exit(1);
  },
});
upload.start();
