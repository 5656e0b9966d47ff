// Canvases to payloads, and payloads to pictures.

export function packRgb(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const rgb = new Uint8Array((data.length / 4) * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    rgb[to] = data[from];
    rgb[to + 1] = data[from + 1];
    rgb[to + 2] = data[from + 2];
  }
  return rgb;
}

export function encodeJpeg(canvas, quality) {
  return new Promise((resolve) => {
    canvas.toBlob(
      async (blob) => resolve(blob && new Uint8Array(await blob.arrayBuffer())),
      "image/jpeg",
      quality,
    );
  });
}

// The picture as something that a canvas can draw.
export function decodePicture({ codec, payload, width, height }) {
  return codec === "jpeg"
    ? createImageBitmap(new Blob([payload], { type: "image/jpeg" }))
    : unpackRgb(payload, width, height);
}

let unpacked = null;

function unpackRgb(rgb, width, height) {
  if (unpacked?.width !== width || unpacked?.height !== height) {
    unpacked = Object.assign(document.createElement("canvas"), { width, height });
  }
  const context = unpacked.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(width, height);
  const { data } = image;
  for (let from = 0, to = 0; to < data.length; from += 3, to += 4) {
    data[to] = rgb[from];
    data[to + 1] = rgb[from + 1];
    data[to + 2] = rgb[from + 2];
    data[to + 3] = 255;
  }
  context.putImageData(image, 0, 0);
  return unpacked;
}
